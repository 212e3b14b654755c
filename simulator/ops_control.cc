// Branches, calls, exits, barriers, fences.
#include <cstring>

#include "decode.h"
#include "lanes.h"
#include "schedule.h"

namespace simulator {

void lower_warp_barrier(Build& b);

namespace {

void run_branch(Warp& w, const Op& op) {
  branch(w, w.mask, op.target);
}

void lower_bra(Build& b) {
  b.has("uni");
  if (b.operand(0).form != Operand::kSymbol) b.refuse("a branch must go to a label");
  b.emit(run_branch, kBranch);
  b.decoder().branch_to(b.in, b.operand(0).name);
}

// Code::more: the number of labels, then where they are.
void run_indexed(Warp& w, const Op& op) {
  const uint32_t* a = cells<uint32_t>(w, op.a);
  const uint32_t* list = w.code->more.data() + op.more;
  const uint32_t first = static_cast<uint32_t>(std::countr_zero(w.mask));
  if (a[first] >= list[0])
    return fail(w, op, kIllegalInstruction, static_cast<int>(first),
                "branches to label " + std::to_string(a[first]) + " of " + std::to_string(list[0]));
  uint32_t same = 0;
  lanes(w.mask, [&](int i) { same |= static_cast<uint32_t>(a[i] == a[first]) << i; });
  // The others come back to this operation.
  if (same != w.mask) {
    const uint32_t rest = w.active & ~same;
    w.fragments.push_back({Fragment::kReady, w.next - 1, rest, 0, 0, 0, nullptr});
    w.active = same;
    w.event = true;
  }
  branch(w, same, list[1 + a[first]]);
}

void lower_brx(Build& b) {
  b.has("idx"), b.has("uni");
  const uint32_t a = b.source(b.operand(0), Type::kU32);
  const auto labels = b.decoder().branch_targets(b.in, b.operand(1).name);
  std::vector<uint32_t> list(labels.size() + 1, 0);
  list[0] = static_cast<uint32_t>(labels.size());
  const uint32_t more = b.more(list);
  if (b.in.guard >= 0) b.refuse("a guard is not known for it");
  Op& op = b.emit(run_indexed, kBranch);
  op.a = a, op.more = more;
  for (size_t i = 0; i < labels.size(); i++)
    b.decoder().table_entry(b.in, labels[i], more + 1 + static_cast<uint32_t>(i));
}

void run_exit(Warp& w, const Op&) {
  exit_lanes(w, w.mask);
}

void lower_ret(Build& b) {
  b.has("uni");
  if (b.in.words[0] == "exit" || b.decoder().in_kernel()) {
    b.emit(run_exit, kBranch);
    return;
  }
  b.emit(run_branch, kBranch);
  b.decoder().branch_to_end();
}

std::string text_at(const Warp& w, uint64_t address) {
  std::string text;
  for (; text.size() < 200; address++) {
    const uint8_t* at = w.block->memory->host(address, 1);
    if (at == nullptr || *at == 0) break;
    text += static_cast<char>(*at);
  }
  return text;
}

// Code::more: where the message, the file and the line lie in local memory.
void run_assert(Warp& w, const Op& op) {
  const int lane = std::countr_zero(w.mask);
  const uint8_t* local = w.local + static_cast<size_t>(lane) * w.code->local_bytes;
  const uint32_t* more = w.code->more.data() + op.more;
  uint64_t message, file;
  uint32_t line;
  std::memcpy(&message, local + more[0], 8);
  std::memcpy(&file, local + more[1], 8);
  std::memcpy(&line, local + more[2], 4);
  fail(w, op, kAssert, lane,
       "an assertion does not hold: " + text_at(w, message) + " (" + text_at(w, file) + ":" + std::to_string(line) +
           ")");
}

void lower_call(Build& b) {
  b.has("uni");
  std::vector<Operand> results, arguments;
  std::string function;
  for (const Operand& o : b.in.operands) {
    if (o.form == Operand::kSymbol) {
      if (!function.empty()) b.refuse("calls through pointers are not known");
      function = o.name;
    } else if (o.form == Operand::kList) {
      (function.empty() ? results : arguments) = o.parts;
    } else {
      b.refuse("calls through pointers are not known");
    }
  }
  auto& code = b.decoder().code();
  const auto local = [&](const Operand& o) {
    Named named{};
    if (!b.decoder().resolve(b.in, o.name, named)) b.refuse("nothing is called " + o.name);
    return static_cast<uint32_t>(named.address);
  };
  // The lanes that the guard turns away go round the body.
  size_t around = 0;
  if (b.in.guard >= 0) {
    Op& op = b.emit(run_branch, kBranch);
    op.guard_negated = !op.guard_negated;
    around = code.ops.size();
  } else {
    b.emit([](Warp&, const Op&) {}, kBranch);
  }
  if (!b.decoder().call(b.in, function, results, arguments)) {
    if (function == "vprintf") {
      Op& op = b.emit_hidden([](Warp& w, const Op& op) {
        lanes(w.mask,
              [&](int i) { std::memset(w.local + static_cast<size_t>(i) * w.code->local_bytes + op.value, 0, 4); });
      });
      op.value = results.empty() ? 0 : local(results[0]);
    } else if (function == "__assertfail" && arguments.size() >= 3) {
      const uint32_t more = b.more({local(arguments[0]), local(arguments[1]), local(arguments[2])});
      b.emit_hidden(run_assert).more = more;
    } else {
      b.refuse("the module does not define " + function);
    }
  }
  if (around != 0) code.ops[around - 1].target = static_cast<uint32_t>(code.ops.size());
}

enum Reduction : uint8_t { kNoReduction, kPopc, kAnd, kOr };

// op.a: barrier; op.b: threads, or kNone; op.c: the predicate of a reduction; op.more: 1 for all lanes of the warp
// together; op.target: 1 for one that does not wait.
void run_barrier(Warp& w, const Op& op) {
  const uint32_t live = w.present & ~w.exited;
  if (op.more != 0 && !gather(w, op, live)) return;
  const int lane = std::countr_zero(w.mask);
  const uint32_t barrier = cells<uint32_t>(w, op.a)[lane];
  const uint32_t expected = op.b == kNone ? 0 : cells<uint32_t>(w, op.b)[lane];
  if (barrier > 15)
    return fail(w, op, kIllegalInstruction, lane, "names barrier " + std::to_string(barrier) + " of 16");
  if (expected % 32 != 0)
    return fail(w, op, kIllegalInstruction, lane,
                "expects " + std::to_string(expected) + " threads, which is not a multiple of 32");
  if (op.target != 0) {
    w.block->arrived[barrier] += op.more != 0 ? 32 : static_cast<uint32_t>(std::popcount(w.mask));
    return;
  }
  arrive(w, op, barrier, expected, op.small == kNoReduction ? 0 : predicate(w, op.c));
}

// bar[.cta].{sync,arrive,red} and barrier[.cta].{sync,arrive,red}[.aligned]
void lower_barrier(Build& b) {
  b.has("cta");
  if (b.in.words.size() > 1 && b.in.words[1] == "warp") return lower_warp_barrier(b);
  const bool aligned = b.has("aligned") || b.in.words[0] == "bar";
  const bool arrives = b.has("arrive"), reduces = b.has("red");
  if (!arrives && !reduces && !b.has("sync")) b.refuse("it must be .sync, .arrive or .red");
  uint8_t reduction = kNoReduction;
  size_t n = 0;
  uint32_t d = 0, c = 0, threads = kNone;
  if (reduces) {
    reduction = b.has("popc") ? kPopc : b.has("and") ? kAnd : b.has("or") ? kOr : kNoReduction;
    if (reduction == kNoReduction) b.refuse("it must be .popc, .and or .or");
    n = 1;
  }
  const uint32_t barrier = b.source(n, Type::kU32);
  const size_t last = b.operands() - (reduces ? 1 : 0);
  if (last > n + 1) threads = b.source(n + 1, Type::kU32);
  if (arrives && threads == kNone) b.refuse("the number of threads must be given");
  if (reduces) {
    c = b.predicate_source(b.operand(last));
    d = reduction == kPopc ? b.result(0, Type::kU32) : b.predicate_result(b.operand(0));
  }
  Op& op = b.emit(run_barrier, kBarrier);
  op.a = barrier, op.b = threads, op.c = c, op.d = d;
  op.small = reduction, op.more = aligned ? 1 : 0, op.target = arrives ? 1 : 0;
}

void lower_trap(Build& b) {
  b.emit([](Warp& w, const Op& op) { fail(w, op, kLaunchFailed, std::countr_zero(w.mask), "a trap"); }, kOther);
}

// Fences and naps: the machine does one thing after another anyway.
void lower_fence(Build& b) {
  for (size_t i = 1; i < b.in.words.size(); i++) b.word(i);
  b.emit([](Warp&, const Op&) {}, kBarrier);
}

}  // namespace

// What a completed barrier gives to the lanes of a fragment that waited at it.
void finish_barrier(Warp& w, const Fragment& f, uint32_t votes, bool all) {
  const Op& op = *f.op;
  w.mask = f.mask;
  if (op.small == kPopc)
    each<uint32_t>(w, op.d, [=](int) { return votes; });
  else if (op.small == kAnd)
    set_predicate(w, op.d, all ? kAll : 0);
  else if (op.small == kOr)
    set_predicate(w, op.d, votes != 0 ? kAll : 0);
}

void add_control_operations() {
  add_lowering("bra", lower_bra);
  add_lowering("brx", lower_brx);
  add_lowering("ret", lower_ret);
  add_lowering("exit", lower_ret);
  add_lowering("call", lower_call);
  add_lowering("trap", lower_trap);
  add_lowering("brkpt", lower_trap);
  add_lowering("bar", lower_barrier);
  add_lowering("barrier", lower_barrier);
  add_lowering("membar", lower_fence);
  add_lowering("fence", lower_fence);
  add_lowering("nanosleep", lower_fence);
}

}  // namespace simulator
