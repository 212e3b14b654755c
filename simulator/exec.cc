// Runs the warps of a block. Lanes of a warp that part go on as fragments; the one that is furthest behind runs, and
// joins the next where it reaches it. A warp runs until all its lanes wait or have ended, then the next one does.
#include <algorithm>
#include <cstring>

#include "lanes.h"
#include "schedule.h"

namespace simulator {

void finish_barrier(Warp& w, const Fragment& f, uint32_t votes, bool all);

namespace {

constexpr uint64_t kSlice = 1 << 20;  // operations after which another warp or fragment gets its turn

// Makes the ready fragment that is furthest behind (or, for fairness, ahead) the current one. False when none is ready.
bool choose(Warp& w, uint32_t& limit, bool ahead = false) {
  auto& list = w.fragments;
  if (w.active != 0) list.push_back({Fragment::kReady, w.next, w.active, 0, 0, 0, nullptr});
  w.active = 0;
  for (size_t i = 0; i < list.size(); i++) {
    for (size_t k = i + 1; k < list.size();) {
      if (list[k].pc == list[i].pc && list[k].state != Fragment::kArrived && list[i].state != Fragment::kArrived) {
        list[i].mask |= list[k].mask;
        list[i].state = Fragment::kReady;
        list.erase(list.begin() + static_cast<std::ptrdiff_t>(k));
      } else {
        k++;
      }
    }
  }
  size_t best = list.size();
  for (size_t i = 0; i < list.size(); i++) {
    if (list[i].state != Fragment::kReady) continue;
    if (best == list.size() || (ahead ? list[i].pc > list[best].pc : list[i].pc < list[best].pc)) best = i;
  }
  limit = kNone;
  if (best == list.size()) return false;
  w.next = list[best].pc;
  w.active = list[best].mask;
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(best));
  for (const Fragment& f : list)
    if (f.state != Fragment::kArrived && f.pc > w.next) limit = std::min(limit, f.pc);
  return true;
}

bool ready(const Warp& w) {
  return std::any_of(w.fragments.begin(), w.fragments.end(),
                     [](const Fragment& f) { return f.state == Fragment::kReady; });
}

void run_warp(Warp& w) {
  Block& block = *w.block;
  const Op* const ops = w.code->ops.data();
  OpCount* const counts = block.counts.data();
  const uint8_t* const registers = w.registers;
  const uint64_t end = std::min(w.steps + kSlice, block.launch->step_limit);
  uint32_t limit;
  w.active = 0;
  // A slice that ended may have ended in a loop that waits for lanes further ahead.
  if (!choose(w, limit, w.steps != 0 && w.steps % (2 * kSlice) >= kSlice)) return;
  uint32_t pc = w.next;
  for (;;) {
    const Op& op = ops[pc];
    uint32_t mask = w.active;
    if (op.guard != kNone) {
      const uint32_t guard = *reinterpret_cast<const uint32_t*>(registers + op.guard);
      mask &= op.guard_negated ? ~guard : guard;
    }
    w.next = pc + 1;
    counts[pc].warp++;
    counts[pc].thread += static_cast<uint32_t>(std::popcount(mask));
    w.steps++;
    if (mask != 0) {
      w.mask = mask;
      op.run(w, op);
    }
    pc = w.next;
    if (__builtin_expect(w.event || pc >= limit || w.steps >= end, 0)) {
      w.event = false;
      if (block.result != kOk) return;
      if (w.steps >= block.launch->step_limit)
        return fail(w, op, kLaunchTimeout, -1,
                    "a warp has executed " + std::to_string(w.steps) + " instructions without an end");
      if (w.steps >= end) {
        if (w.active != 0) w.fragments.push_back({Fragment::kReady, w.next, w.active, 0, 0, 0, nullptr});
        w.active = 0;
        return;
      }
      if (!choose(w, limit)) return;
      pc = w.next;
    }
  }
}

// Lets go on those whose barrier is complete. False when there are none.
bool release(Block& block) {
  bool any = false;
  for (uint32_t barrier = 0; barrier < 16; barrier++) {
    uint32_t threads = 0, rounded = block.arrived[barrier], expected = 0, votes = 0;
    bool waiting = false;
    for (const Warp& w : block.warps)
      for (const Fragment& f : w.fragments) {
        if (f.state != Fragment::kArrived || f.barrier != barrier) continue;
        waiting = true;
        expected = std::max(expected, f.expected);
        threads += static_cast<uint32_t>(std::popcount(f.mask));
        rounded += f.mask == w.present ? 32 : static_cast<uint32_t>(std::popcount(f.mask));
        votes += static_cast<uint32_t>(std::popcount(f.vote & f.mask));
      }
    if (!waiting || (expected == 0 ? threads != block.threads : rounded < expected)) continue;
    for (Warp& w : block.warps)
      for (Fragment& f : w.fragments) {
        if (f.state != Fragment::kArrived || f.barrier != barrier) continue;
        finish_barrier(w, f, votes, votes == threads);
        f.state = Fragment::kReady;
      }
    block.arrived[barrier] = 0;
    any = true;
  }
  return any;
}

void deadlock(Block& block) {
  uint32_t exited = 0, waiting = 0;
  Warp* first = nullptr;
  const Fragment* at = nullptr;
  for (Warp& w : block.warps) {
    exited += static_cast<uint32_t>(std::popcount(w.exited));
    for (const Fragment& f : w.fragments) {
      waiting += static_cast<uint32_t>(std::popcount(f.mask));
      if (at == nullptr || (at->state == Fragment::kArrived && f.state == Fragment::kAligning)) first = &w, at = &f;
    }
  }
  const Op& op = at->op != nullptr ? *at->op : block.code->ops[at->pc];
  first->mask = at->mask;
  std::string why = "a deadlock: " + std::to_string(waiting) + " threads wait, " + std::to_string(exited) + " of " +
                    std::to_string(block.threads) + " have exited";
  if (at->state == Fragment::kAligning)
    why += "; " + std::to_string(std::popcount(at->mask)) + " lanes of warp " + std::to_string(first->index) +
           " have to be joined here by others that do not come";
  else
    why += "; barrier " + std::to_string(at->barrier) + " expects " +
           std::to_string(at->expected == 0 ? block.threads : at->expected);
  fail(*first, op, kLaunchFailed, std::countr_zero(at->mask), why);
}

uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

void fail(Warp& w, const Op& op, int result, int lane, const std::string& what) {
  Block& block = *w.block;
  w.event = true;
  if (block.result != kOk) return;
  block.result = result;
  const Code::Line& line = block.code->instructions[op.instruction];
  const auto triple = [](uint32_t x, uint32_t y, uint32_t z) {
    std::string text = "(";
    return text.append(std::to_string(x))
        .append(", ")
        .append(std::to_string(y))
        .append(", ")
        .append(std::to_string(z))
        .append(")");
  };
  std::string thread = "warp " + std::to_string(w.index);
  if (lane >= 0) {
    const uint32_t n = w.index * 32 + static_cast<uint32_t>(lane), *b = block.launch->block;
    thread = "thread " + triple(n % b[0], n / b[0] % b[1], n / b[0] / b[1]);
  }
  block.sentence = block.code->name + ", block " + triple(block.id[0], block.id[1], block.id[2]) + ", " + thread +
                   ", line " + std::to_string(line.line) + " of its PTX (" + line.text + "): " + what;
}

void branch(Warp& w, uint32_t taken, uint32_t target) {
  if (taken == w.active) {
    w.next = target;
    if (!w.fragments.empty()) w.event = true;
    return;
  }
  w.fragments.push_back({Fragment::kReady, target, taken, 0, 0, 0, nullptr});
  w.active &= ~taken;
  w.event = true;
}

void exit_lanes(Warp& w, uint32_t mask) {
  w.exited |= mask;
  w.active &= ~mask;
  w.event = true;
  // Those that wait for these lanes look again.
  for (Fragment& f : w.fragments)
    if (f.state == Fragment::kAligning) f.state = Fragment::kReady;
}

bool gather(Warp& w, const Op& op, uint32_t wanted) {
  if ((wanted & ~w.mask) == 0) return true;
  if ((wanted & w.active & ~w.mask) != 0) {
    fail(w, op, kLaunchFailed, std::countr_zero(w.active & ~w.mask & wanted),
         "it is for lanes whose guard turns them away");
    return false;
  }
  w.fragments.push_back({Fragment::kAligning, w.next - 1, w.active, 0, 0, 0, &op});
  w.active = 0;
  w.event = true;
  return false;
}

void arrive(Warp& w, const Op& op, uint32_t barrier, uint32_t expected, uint32_t vote) {
  w.fragments.push_back({Fragment::kArrived, w.next, w.mask, barrier, expected, vote, &op});
  w.active &= ~w.mask;
  w.event = true;
}

void run_block(Block& block) {
  const auto count = static_cast<uint32_t>(block.warps.size());
  std::vector<uint32_t> order(count);
  for (uint64_t round = 0;; round++) {
    for (uint32_t i = 0; i < count; i++) order[i] = block.launch->order.kind == Order::kReverse ? count - 1 - i : i;
    if (block.launch->order.kind == Order::kMixed) {
      uint64_t state = mixed(block.launch->order.seed ^ mixed(block.linear * 0x10001 + round));
      for (uint32_t i = count; i > 1; i--) std::swap(order[i - 1], order[(state = mixed(state)) % i]);
    }
    bool alive = false;
    for (const uint32_t i : order) {
      Warp& w = block.warps[i];
      if (ready(w)) {
        run_warp(w);
        if (block.result != kOk) return;
      }
      alive = alive || w.exited != w.present;
    }
    if (!alive) return;
    if (block.launch->cancel != nullptr && block.launch->cancel->load(std::memory_order_relaxed)) {
      block.result = kLaunchFailed;
      block.sentence = block.code->name + ": the launch was broken off";
      return;
    }
    const bool still = std::any_of(block.warps.begin(), block.warps.end(), ready);
    if (still) continue;
    if (release(block)) continue;
    return deadlock(block);
  }
}

}  // namespace simulator
