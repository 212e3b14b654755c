// What the CPU's stream promises, without Node: threads put random work into it and compare every result with a model;
// failures reach the thread whose work failed; a copy that was given up writes nothing. Prints `ok`, or what was wrong.
// usage: stream_check <rounds>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cpu/stream.h"
#include "cuda/error.h"

using namespace fracstride;

namespace {

std::atomic<int> wrong{0};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("%s\n", what);
  ++wrong;
}

// cells[i] = cells[i] * 31 + addend, for i < count
void mix(void** params) {
  auto* const cells = *static_cast<uint32_t**>(params[0]);
  const int64_t count = *static_cast<int64_t*>(params[1]);
  const int32_t addend = *static_cast<int32_t*>(params[2]);
  for (int64_t i = 0; i < count; ++i) cells[i] = cells[i] * 31 + uint32_t(addend);
}

void fail(void**) {
  throw std::bad_alloc();
}

void doze(void** params) {
  std::this_thread::sleep_for(std::chrono::milliseconds(*static_cast<int32_t*>(params[0])));
}

void sleep_there(int32_t milliseconds) {
  void* params[] = {&milliseconds};
  cpu_stream().launch(doze, "doze", "i", params);
}

struct Copy {
  std::vector<uint32_t> target, expected;
  std::atomic<bool> ended{false};
  std::string code;
};

void copy_ended(void* context, const Outcome& outcome) {
  auto& copy = *static_cast<Copy*>(context);
  if (outcome.code != nullptr) copy.code = outcome.code;
  copy.ended = true;
}

void wait_for(const Copy& copy) {
  while (!copy.ended) std::this_thread::yield();
}

// One thread's buffer: the stream's, and what it must be.
struct Buffer {
  explicit Buffer(size_t count) : model(count, 1), memory(new uint32_t[count]) {
    cpu_stream().copy_in(memory, model.data(), count * 4);
  }
  // Other work may still use it: released in order.
  ~Buffer() {
    cpu_stream().release(memory, 0, [](void* at, size_t) { delete[] static_cast<uint32_t*>(at); });
  }

  void step(std::mt19937& random) {
    const size_t count = model.size();
    const uint32_t kind = random() % 8;
    if (kind < 5) {
      int32_t addend = int32_t(random());
      int64_t most = int64_t(random() % (count + 1));
      void* params[] = {&memory, &most, &addend};
      cpu_stream().launch(mix, "mix", "pli", params);
      for (int64_t i = 0; i < most; ++i) model[i] = model[i] * 31 + uint32_t(addend);
    } else if (kind == 5) {
      std::vector<uint32_t> source(random() % (count + 1));
      for (uint32_t& value : source) value = random();
      std::copy(source.begin(), source.end(), model.begin());
      cpu_stream().copy_in(memory, source.data(), source.size() * 4);
      std::fill(source.begin(), source.end(), 0);  // the source may change at once
    } else if (kind == 6) {
      const uint8_t value = uint8_t(random());
      std::memset(model.data(), value, count * 4);
      cpu_stream().set_bytes(memory, value, count * 4);
    } else {
      copies.push_back(std::make_unique<Copy>());
      Copy& copy = *copies.back();
      copy.expected = model;
      copy.target.resize(count);
      cpu_stream().copy_out(copy.target.data(), memory, count * 4, copy_ended, &copy);
    }
  }

  void check() {
    for (const auto& copy : copies) {
      wait_for(*copy);
      expect(copy->code.empty() && copy->target == copy->expected, "an asynchronous copy was of another moment");
    }
    copies.clear();
    cpu_stream().wait();
    expect(std::equal(model.begin(), model.end(), memory), "work ran out of order");
  }

  std::vector<uint32_t> model;
  uint32_t* memory;
  std::vector<std::unique_ptr<Copy>> copies;
};

void random_work(uint32_t seed, int rounds) {
  std::mt19937 random(seed);
  for (int round = 0; round < rounds; ++round) {
    Buffer small(1 + random() % 8), large(1 + random() % 5000);
    // More than the queue holds, now and then.
    const int steps = int(random() % (round % 8 == 0 ? 3000 : 100));
    for (int i = 0; i < steps; ++i) {
      (random() % 4 == 0 ? large : small).step(random);
      if (random() % 200 == 0) small.check();
    }
    small.check();
    large.check();
  }
}

std::string thrown_by_wait() {
  try {
    cpu_stream().wait();
    return "";
  } catch (const Error& error) {
    return std::string(error.code()) + " " + error.what();
  }
}

void failures() {
  sleep_there(5);
  cpu_stream().launch(fail, "greedy", "", nullptr);
  std::thread([] { expect(thrown_by_wait().empty(), "a failure was told to another thread"); }).join();
  expect(thrown_by_wait() == "ERR_OUT_OF_MEMORY launch: working memory of greedy must be left, got none",
         "a failure was not told");
  expect(thrown_by_wait().empty(), "a failure was told twice");
  cpu_stream().launch(fail, "greedy", "", nullptr);
  uint32_t source = 5;
  Copy copy;
  copy.target.resize(1);
  cpu_stream().copy_out(copy.target.data(), &source, 4, copy_ended, &copy);
  wait_for(copy);
  expect(copy.code == "ERR_OUT_OF_MEMORY", "an asynchronous copy did not tell the failure");
  expect(thrown_by_wait().empty(), "a failure was told to a copy and again");
}

void giving_up() {
  uint32_t source = 5;
  Copy copy;
  copy.target.assign(1, 7);
  sleep_there(20);
  cpu_stream().copy_out(copy.target.data(), &source, 4, copy_ended, &copy);
  cpu_stream().abandon(&copy);
  wait_for(copy);
  expect(!copy.code.empty() && copy.target[0] == 7, "a copy that was given up was made");
}

void returning_at_once() {
  const auto start = std::chrono::steady_clock::now();
  sleep_there(200);
  std::vector<uint32_t> memory(100000), source(100000, 3);
  cpu_stream().copy_in(memory.data(), source.data(), 400000);
  cpu_stream().copy_in(memory.data(), source.data(), 4);
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  expect(passed.count() < 0.1, "asking for work waited for it");
  expect(memory[99999] == 0, "a copy ran before the work that was asked for first");
  cpu_stream().wait();
  expect(memory[99999] == 3, "waiting ended before the work");
}

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  std::vector<std::thread> threads;
  for (uint32_t seed = 1; seed <= 4; ++seed) threads.emplace_back([=] { random_work(seed, rounds); });
  for (std::thread& thread : threads) thread.join();
  failures();
  giving_up();
  returning_at_once();
  if (wrong == 0) std::printf("ok\n");
  sleep_there(10000);  // the process ends in the middle of it
  return wrong == 0 ? 0 : 1;
}
