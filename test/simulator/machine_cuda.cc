// Kernels of test/simulator/kernels, from PTX that nvcc made of them, against the same computed here.
#include <cmath>
#include <fstream>
#include <sstream>

#include "machine_check.h"

namespace check {
namespace {

std::string image(const char* name) {
  std::ifstream file(folder() + "/" + name + ".ptx");
  std::stringstream text;
  text << file.rdbuf();
  if (text.str().empty()) throw LeftOut{};
  return text.str();
}

Launch shape(uint32_t grid, uint32_t block, uint32_t dynamic = 0) {
  Launch launch;
  launch.grid[0] = grid, launch.block[0] = block, launch.dynamic_shared_bytes = dynamic;
  return launch;
}

const Order kOrders[] = {{Order::kForward, 0}, {Order::kReverse, 0}, {Order::kMixed, 3}};

Add sums("CUDA text: sums and scans, in every order of warps", [] {
  for (const Order& order : kOrders) {
    Rig rig(image("sums"));
    std::vector<int> data(10007);
    int total = 0;
    for (size_t i = 0; i < data.size(); i++)
      total += data[i] = static_cast<int>(static_cast<uint32_t>(i) * 2654435761u >> 20) - 2000;
    const uint64_t in = rig.array(data), out = rig.array(std::vector<int>(1024, 0));
    Launch launch = shape(7, 256);
    launch.order = order;
    must_run(rig, "sums", launch, {in, out, data.size()});
    same("sum", rig.read<int>(out, 1)[0], total);
    launch = shape(1, 1000, 4000);
    launch.order = order;
    must_run(rig, "scan", launch, {in, out});
    const auto got = rig.read<int>(out, 1000);
    int running = 0;
    for (size_t i = 0; i < 1000; i++) same("prefix " + std::to_string(i), got[i], running += data[i]);
  }
});

template <class T>
void near(const std::string& what, T got, T expected, T bound) {
  if (!(std::fabs(got - expected) <= bound * (std::fabs(expected) + std::numeric_limits<T>::min())))
    failed(what + " must be " + std::to_string(expected) + ", got it wrong by " +
           std::to_string(1e15 * std::fabs((got - expected) / expected)) + "e-15");
}

Add singles("CUDA text: functions of float are within a few units of the host's", [] {
  Rig rig(image("functions"));
  std::vector<float> x;
  for (int i = 0; i < 300; i++) x.push_back(static_cast<float>(i - 150) * 0.0837f + 0.01f);
  const uint64_t in = rig.array(x), out = rig.array(std::vector<float>(12 * x.size()));
  must_run(rig, "singles", shape(3, 128), {in, out, x.size()});
  const auto got = rig.read<float>(out, 12 * x.size());
  for (size_t i = 0; i < x.size(); i++) {
    const double v = x[i], m = std::fabs(v);
    const double expected[12] = {
        std::exp(v),
        std::log(static_cast<double>(std::fabs(x[i]) + 0.5f)),
        std::tanh(v),
        std::sqrt(m),
        std::sin(v),
        std::cos(v),
        std::pow(static_cast<double>(x[i] < 0 ? -x[i] + 0.1f : x[i] + 0.1f), static_cast<double>(1.7f)),
        std::erf(v),
        1 / (1 + std::exp(-v)),
        std::log1p(m),
        std::floor(v) + std::fmod(v, 3.0),
        v / 3};
    for (size_t k = 0; k < 12; k++) {
      // Near a zero of the function the argument's own rounding counts.
      if ((k == 1 || k == 4 || k == 5 || k == 10) && std::fabs(expected[k]) < 0.05) continue;
      near<double>("function " + std::to_string(k) + " of " + std::to_string(v), got[12 * i + k], expected[k],
                   k == 6 ? 2e-6 : 6e-7);
    }
  }
});

Add doubles("CUDA text: functions of double, and their slow paths", [] {
  Rig rig(image("functions"));
  std::vector<double> x;
  for (int i = 0; i < 200; i++) x.push_back((i - 100) * 0.0837 + 0.01);
  x.push_back(3e7);
  x.push_back(-1e200);
  const uint64_t in = rig.array(x), out = rig.array(std::vector<double>(10 * x.size()));
  must_run(rig, "doubles", shape(2, 128), {in, out, x.size()});
  const auto got = rig.read<double>(out, 10 * x.size());
  for (size_t i = 0; i < x.size(); i++) {
    const double v = x[i], m = std::fabs(v);
    const double expected[10] = {std::exp(v),       std::log(m + 0.5),   std::tanh(v),           std::sqrt(m),
                                 std::sin(v * 1e6), std::cos(v),         std::pow(m + 0.1, 1.7), std::erf(v),
                                 1 / (v + 100),     1 / std::sqrt(m + 1)};
    for (size_t k = 0; k < 10; k++) {
      if (std::isinf(expected[k]) && got[10 * i + k] == expected[k]) continue;
      near<double>("function " + std::to_string(k) + " of " + std::to_string(v), got[10 * i + k], expected[k], 1e-14);
    }
  }
});

struct Table {
  uint64_t at[20] = {};
  long long counts[20] = {};
  int n = 0;
};

int chosen(int which, int x) {
  switch (which) {
    case 0:
      return x + 1;
    case 1:
      return x * x;
    case 2:
      return -x;
    case 3:
      return x ^ 0x55;
    case 4:
      return x / 7;
    case 5:
      return x % 11;
    default:
      return 1234;
  }
}

Add language("CUDA text: structs by value, constants, switches, local arrays, calls, variables that stay", [] {
  Rig rig(image("language"));
  Table table, values;
  table.n = 3;
  std::vector<std::vector<int>> lists;
  for (int i = 0; i < 3; i++) {
    std::vector<int> list;
    for (int t = 0; t < 64; t++) list.push_back(t * (i + 2) - 9);
    table.at[i] = rig.array(list);
    table.counts[i] = 5 - 3 * i;
    lists.push_back(list);
  }
  const uint64_t out = rig.array(std::vector<long long>(64));
  const Function* f = rig.module->function("language");
  std::vector<uint8_t> parameters(f->parameter_bytes);
  same<uint32_t>("size of the struct", f->parameters[0].bytes, sizeof table);
  std::memcpy(parameters.data(), &table, sizeof table);
  std::memcpy(parameters.data() + f->parameters[1].offset, &out, 8);
  Launch launch = shape(1, 64);
  launch.parameters = parameters.data();
  for (int i = 0; i < 3; i++) {
    const Outcome outcome = simulator::launch(*f, launch, rig.memory);
    if (outcome.result != kOk) failed(outcome.sentence);
  }
  const auto got = rig.read<long long>(out, 64);
  const int weights[4] = {1, 10, 100, 1000};
  for (int t = 0; t < 64; t++) {
    const int other = 63 - t;
    long long sum = chosen(other % 8, other - 16) + 1;
    int local[8];
    for (int i = 0; i < 8; i++) local[i] = chosen(i, t - 16);
    local[t % 5]++;
    for (int i = 0; i < 3; i++) sum += lists[i][t] * table.counts[(i + t) % 3];
    sum += weights[t % 4];
    sum += (sum * 1000003LL) / (t + 3) % 977;
    for (int i = 0; i < 8; i++) sum = sum * 3 + local[(i + t) & 7];
    uint32_t reversed = 0;
    for (int i = 0; i < 32; i++) reversed |= (static_cast<uint32_t>(t) >> i & 1) << (31 - i);
    // popcount, clz and ffs are int; __brev is unsigned, and so makes the sum of the four unsigned.
    const uint32_t rest = static_cast<uint32_t>(std::countl_zero(static_cast<uint32_t>(t))) +
                          (t == 0 ? 0 : 1 + static_cast<uint32_t>(std::countr_zero(static_cast<uint32_t>(t))));
    sum += std::popcount(static_cast<uint64_t>(t) * 0x123456789abcULL);
    sum += static_cast<long long>(static_cast<uint64_t>(rest) + reversed);
    same<long long>("thread " + std::to_string(t), got[t], sum);
  }
  const uint64_t told = rig.memory.allocate(4);
  must_run(rig, "told", shape(1, 1), {told});
  same<uint32_t>("launches counted", rig.read<uint32_t>(told, 1)[0], 3);
});

Add tile("CUDA text: a tile product through cp.async, ldmatrix and mma, in every order of warps", [] {
  for (const Order& order : kOrders) {
    Rig rig(image("tile_sm80"));
    const auto whole = [](int x) { return static_cast<uint16_t>(bits(static_cast<float>(x)) >> 16); };
    std::vector<uint16_t> a, b;
    for (int i = 0; i < 32 * 64; i++) a.push_back(whole(i * 7 % 15 - 7));
    for (int i = 0; i < 16 * 64; i++) b.push_back(whole(i * 5 % 13 - 6));
    const uint64_t da = rig.array(a), db = rig.array(b), dc = rig.array(std::vector<float>(32 * 16));
    Launch launch = shape(1, 64);
    launch.order = order;
    must_run(rig, "tile", launch, {da, db, dc});
    const auto got = rig.read<float>(dc, 32 * 16);
    for (int m = 0; m < 32; m++)
      for (int n = 0; n < 16; n++) {
        int sum = 0;
        for (int k = 0; k < 64; k++) sum += ((m * 64 + k) * 7 % 15 - 7) * ((n * 64 + k) * 5 % 13 - 6);
        same<int>("(" + std::to_string(m) + ", " + std::to_string(n) + ")", static_cast<int>(got[m * 16 + n]), sum);
      }
  }
});

}  // namespace
}  // namespace check
