// Kernels that are wrong on purpose, each of which the machine has to catch.
#include "machine_check.h"

namespace check {
namespace {

std::string kernel(const std::string& parameters, const std::string& body, const std::string& before = "") {
  return ".version 8.0\n.target sm_90\n.address_size 64\n" + before + "\n.visible .entry k(" + parameters +
         ")\n{\n.reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<20>;\n" + body + "\nret;\n}\n";
}

Launch threads(uint32_t block, uint32_t grid = 1) {
  Launch launch;
  launch.block[0] = block;
  launch.grid[0] = grid;
  return launch;
}

// out[t] = the value that thread 255 - t put into shared memory.
std::string reversal(bool barrier) {
  return kernel(".param .u64 out",
                ".shared .align 4 .b8 box[1024];\nld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, box;\n"
                "shl.b32 %r3, %r1, 2;\nadd.u32 %r4, %r2, %r3;\nst.shared.u32 [%r4], %r1;\n" +
                    std::string(barrier ? "bar.sync 0;\n" : "") +
                    "sub.u32 %r5, 255, %r1;\nshl.b32 %r5, %r5, 2;\nadd.u32 %r5, %r2, %r5;\nld.shared.u32 %r6, [%r5];\n"
                    "mul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r6;");
}

std::vector<uint32_t> reversed_with(bool barrier, Order order) {
  Rig rig(reversal(barrier));
  const uint64_t out = rig.array(std::vector<uint32_t>(256));
  Launch launch = threads(256);
  launch.order = order;
  must_run(rig, "k", launch, {out});
  return rig.read<uint32_t>(out, 256);
}

const Order kOrders[] = {{Order::kForward, 0}, {Order::kReverse, 0}, {Order::kMixed, 1}, {Order::kMixed, 7}};

Add barrier("a kernel with its barrier gives the same in every order of warps", [] {
  for (const Order& order : kOrders) {
    const auto got = reversed_with(true, order);
    for (uint32_t t = 0; t < 256; t++) same("out[" + std::to_string(t) + "]", got[t], 255 - t);
  }
});

Add no_barrier("a missing barrier gives wrong output in every order of warps, and not the same", [] {
  std::vector<std::vector<uint32_t>> all;
  for (const Order& order : kOrders) {
    all.push_back(reversed_with(false, order));
    bool wrong = false;
    for (uint32_t t = 0; t < 256; t++) wrong = wrong || all.back()[t] != 255 - t;
    if (!wrong) failed("the output must be wrong in some place");
  }
  if (all[0] == all[1]) failed("forward and reverse must differ");
});

std::string async_copy(const std::string& wait) {
  return kernel(
      ".param .u64 in, .param .u64 out",
      ".shared .align 16 .b8 box[1024];\nld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nmov.u32 %r1, %tid.x;\n"
      "mul.wide.u32 %rd3, %r1, 16;\nadd.u64 %rd1, %rd1, %rd3;\nadd.u64 %rd2, %rd2, %rd3;\nshl.b32 %r2, %r1, 4;\n"
      "mov.u32 %r3, box;\nadd.u32 %r2, %r2, %r3;\nmov.u32 %r9, 5;\n"
      "cp.async.cg.shared.global [%r2], [%rd1], 16;\ncp.async.commit_group;\n"
      "cp.async.ca.shared.global [%r2+512], [%rd1], 16, %r9;\ncp.async.commit_group;\n" +
          wait +
          "\nbar.sync 0;\nld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2];\nst.global.v4.u32 [%rd2], {%r4, %r5, %r6, "
          "%r7};\n"
          "ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2+512];\nst.global.v4.u32 [%rd2+512], {%r4, %r5, %r6, %r7};");
}

// How many of the 32 x 16 bytes of each of the two copies have arrived: as they should, or as before (0xCB).
void copied(const std::string& wait, bool first, bool second) {
  Rig rig(async_copy(wait));
  std::vector<uint8_t> data(512);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<uint8_t>(i * 7 + 1);
  const uint64_t in = rig.array(data), out = rig.array(std::vector<uint8_t>(1024));
  must_run(rig, "k", threads(32), {in, out});
  const auto got = rig.read<uint8_t>(out, 1024);
  for (size_t i = 0; i < 512; i++) {
    same<uint32_t>("byte " + std::to_string(i) + " of the first copy", got[i], first ? data[i] : 0xcb);
    const uint8_t part = i % 16 < 5 ? data[i] : 0;
    same<uint32_t>("byte " + std::to_string(i) + " of the second copy", got[512 + i], second ? part : 0xcb);
  }
}

Add async_all("cp.async delivers at wait_all, with zeros behind src-size",
              [] { copied("cp.async.wait_all;", true, true); });
Add async_none("without a wait nothing of a cp.async has arrived", [] { copied("", false, false); });
Add async_one("wait_group 1 leaves the newest group pending", [] { copied("cp.async.wait_group 1;", true, false); });
Add async_zero("wait_group 0 waits for all groups", [] { copied("cp.async.wait_group 0;", true, true); });
Add async_two("wait_group 2 leaves two groups pending", [] { copied("cp.async.wait_group 2;", false, false); });
Add async_empty("an empty group counts", [] { copied("cp.async.commit_group;\ncp.async.wait_group 2;", true, false); });

std::string store(const std::string& instruction) {
  return kernel(".param .u64 out",
                "ld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n"
                "add.u64 %rd3, %rd1, %rd2;\n" +
                    instruction);
}

void caught(const std::string& ptx, Launch launch, size_t bytes, int result, const std::vector<std::string>& parts) {
  Rig rig(ptx);
  const uint64_t out = rig.memory.allocate(bytes);
  const Outcome outcome = start(rig, "k", launch, {out});
  same("the result", outcome.result, result);
  for (const std::string& part : parts) contains(outcome.sentence, part);
  contains(outcome.sentence, "k, block (");
}

Add global_bounds("one element behind global memory is caught, with thread and line", [] {
  caught(store("st.global.u32 [%rd3], %r1;"), threads(65), 256, kIllegalAddress,
         {"thread (64, 0, 0)", "line 12", "st.global.u32", "writes 4 bytes",
          "0 bytes after the end of an allocation of 256 bytes"});
});
Add global_before("one element before global memory is caught", [] {
  caught(store("ld.global.u32 %r2, [%rd3+-4];"), threads(32), 256, kIllegalAddress,
         {"thread (0, 0, 0)", "4 bytes before an allocation"});
});
Add global_straddle("the last byte of an access counts", [] {
  caught(store("ld.global.v2.u32 {%r2, %r3}, [%rd1+256];"), threads(1), 260, kIllegalAddress, {"reads 8 bytes"});
});
Add generic_bounds("a generic address is checked too", [] {
  caught(store("st.u32 [%rd3+4], %r1;"), threads(64), 256, kIllegalAddress, {"thread (63, 0, 0)"});
});
Add null("a null pointer is caught", [] {
  caught(store("mov.u64 %rd4, 0;\nld.global.u32 %r2, [%rd4];"), threads(1), 256, kIllegalAddress,
         {"far from every allocation"});
});
Add misaligned("a misaligned vector is caught", [] {
  caught(store("ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+4];"), threads(1), 256, kMisalignedAddress,
         {"not a multiple of 16"});
});
Add shared_bounds("one element behind shared memory is caught", [] {
  caught(kernel(".param .u64 out",
                ".shared .align 4 .b8 box[128];\nmov.u32 %r1, %tid.x;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, box;\n"
                "add.u32 %r2, %r2, %r3;\nst.shared.u32 [%r2+4], %r1;"),
         threads(32), 256, kIllegalAddress, {"thread (31, 0, 0)", "of shared memory, which has 128 bytes"});
});
Add shared_misaligned("a misaligned access to shared memory is caught", [] {
  caught(kernel(".param .u64 out", ".shared .align 16 .b8 box[128];\nld.shared.v2.u32 {%r1, %r2}, [box+4];"),
         threads(1), 256, kMisalignedAddress, {"not a multiple of 8"});
});
Add local_bounds("an index out of a local array's frame is caught", [] {
  caught(kernel(".param .u64 out", ".local .align 4 .b8 a[16];\nmov.u64 %rd1, a;\nst.local.u32 [%rd1+16], 1;"),
         threads(1), 256, kIllegalAddress, {"local memory, which has 16 bytes"});
});
Add use_after_free("memory that was freed is caught", [] {
  Rig rig(store("ld.global.u32 %r2, [%rd3];"));
  const uint64_t out = rig.memory.allocate(256);
  rig.memory.free(out);
  rig.memory.allocate(256);
  const Outcome outcome = start(rig, "k", threads(32), {out});
  same("the result", outcome.result, static_cast<int>(kIllegalAddress));
  contains(outcome.sentence, "that was freed");
});
Add endless("an endless loop ends at the limit of steps", [] {
  Rig rig(kernel(".param .u64 out", "$L: add.u32 %r1, %r1, 1;\nbra $L;"));
  Launch launch = threads(32);
  launch.step_limit = 100000;
  const Outcome outcome = start(rig, "k", launch, {0});
  same("the result", outcome.result, static_cast<int>(kLaunchTimeout));
  contains(outcome.sentence, "without an end");
});
Add divergent_barrier("a barrier that part of a warp reaches is a deadlock", [] {
  caught(
      kernel(
          ".param .u64 out",
          "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 16;\n@%p1 bra $A;\nbar.sync 0;\nbra $B;\n$A: bar.sync 0;\n$B:"),
      threads(32), 256, kLaunchFailed, {"a deadlock", "16 lanes of warp 0"});
});
Add exited("a barrier that misses threads that have exited is a deadlock", [] {
  caught(kernel(".param .u64 out", "mov.u32 %r1, %tid.x;\nsetp.ge.u32 %p1, %r1, 32;\n@%p1 exit;\nbar.sync 0;"),
         threads(64), 256, kLaunchFailed, {"a deadlock", "32 of 64 have exited"});
});
Add two_barriers("warps that wait at different barriers are a deadlock", [] {
  caught(kernel(".param .u64 out", "mov.u32 %r1, %tid.x;\nshr.u32 %r2, %r1, 5;\nbar.sync %r2;"), threads(64), 256,
         kLaunchFailed, {"a deadlock"});
});
Add stray_shuffle("a shuffle that names lanes that never come is caught", [] {
  caught(kernel(".param .u64 out",
                "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 16;\n@%p1 bra $A;\nbar.sync 1;\n$A: shfl.sync.idx.b32 "
                "%r2, %r1, 0, 31, -1;"),
         threads(32), 256, kLaunchFailed, {"a deadlock"});
});
Add trap("a trap is caught", [] { caught(store("trap;"), threads(1), 256, kLaunchFailed, {"trap"}); });
Add too_many("a block of more than 1024 threads is refused", [] {
  Rig rig(store("st.global.u32 [%rd3], %r1;"));
  same("the result", start(rig, "k", threads(1025), {0}).result, static_cast<int>(kLaunchOutOfResources));
});
Add first_fault("the first block in order that fails is the one told, on any number of host threads", [] {
  for (unsigned n = 1; n <= 4; n++) {
    Rig rig(kernel(".param .u64 out",
                   "ld.param.u64 %rd1, [out];\nmov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd3, %rd1, "
                   "%rd2;\nst.global.u32 [%rd3], %r1;"));
    Launch launch = threads(32, 500);
    launch.host_threads = n;
    const Outcome outcome = start(rig, "k", launch, {rig.memory.allocate(400)});
    contains(outcome.sentence, "block (100, 0, 0)");
  }
});
Add fresh("fresh memory holds 0xCD, shared memory 0xCB in every block", [] {
  Rig rig(kernel(".param .u64 out",
                 ".shared .align 4 .b8 box[4];\nld.param.u64 %rd1, [out];\nmov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd2, "
                 "%r1, 8;\nadd.u64 %rd3, %rd1, %rd2;\n"
                 "ld.shared.u32 %r2, [box];\nst.shared.u32 [box], %r1;\nst.global.u32 [%rd3], %r2;"));
  const uint64_t out = rig.memory.allocate(64);
  must_run(rig, "k", threads(1, 8), {out});
  const auto got = rig.read<uint32_t>(out, 16);
  for (size_t i = 0; i < 16; i++)
    same<uint32_t>("word " + std::to_string(i), got[i], i % 2 == 0 ? 0xcbcbcbcb : 0xcdcdcdcd);
});

void refused(const std::string& instruction, const std::string& part) {
  Memory memory(1 << 20);
  std::string error;
  int result = 0;
  const std::string ptx = around(instruction);
  if (Module::parse(ptx.data(), ptx.size(), memory, error, result) != nullptr) failed("it must be refused");
  same("the result", result, static_cast<int>(kInvalidPtx));
  contains(error, part);
  contains(error, "line 13");
}
Add unknown("an instruction that is not known is named with its line",
            [] { refused("tcgen05.mma.cta_group %r1, %r2;", "tcgen05.mma.cta_group"); });
Add unknown_word("so is one with a modifier that is not known",
                 [] { refused("add.wild.u32 %r1, %r2, %r3;", ".wild is not known"); });
Add unknown_register("so is a register that was not declared",
                     [] { refused("add.u32 %r1, %r2, %q3;", "not declared"); });
Add wrong_width("so is a register narrower than its type", [] { refused("add.u64 %rd3, %rd4, %r5;", "narrower"); });

Add memory_limits("memory gives out what it has, and takes back what it gave", [] {
  Memory memory(1 << 20);
  const uint64_t a = memory.allocate(1 << 19), b = memory.allocate(1 << 19);
  if (a == 0 || b == 0) failed("a megabyte must be there");
  same<uint64_t>("the third", memory.allocate(1), 0);
  if (memory.free(a + 1) || !memory.free(a) || memory.free(a)) failed("free must take the address given out, once");
  same<uint64_t>("used bytes", memory.used(), 1 << 19);
  if (memory.allocate(1 << 19) == 0) failed("freed memory must be there again");
  if (memory.host(b, (1 << 19) + 1) != nullptr) failed("what is longer than an allocation is not there");
});
Add memory_reuse("addresses run out only after long, and then old ones come back", [] {
  Memory memory(uint64_t{1} << 30);
  uint64_t first = 0;
  for (int i = 0; i < 400; i++) {
    const uint64_t a = memory.allocate(1 << 12);
    if (i == 0)
      first = a;
    else if (a == first)
      failed("an address must not be given out again at once");
    memory.free(a);
  }
});

}  // namespace
}  // namespace check
