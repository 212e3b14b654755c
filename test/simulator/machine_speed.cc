// Prints how many instructions of threads a second one host thread executes; nothing is asserted. It is not part of any
// build: compile it with simulator/*.cc, optimised.
#include <chrono>
#include <cstdio>

#include "machine_check.h"

namespace check {
namespace {

std::string loop(const std::string& before, const std::string& body) {
  return ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 data)\n{\n"
         ".reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<40>;\n"
         ".shared .align 16 .b8 box[4096];\nld.param.u64 %rd1, [data];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, "
         "4;\n"
         "add.u64 %rd3, %rd1, %rd2;\nshl.b32 %r3, %r1, 4;\nmov.u32 %r4, box;\nadd.u32 %r3, %r3, %r4;\nmov.u32 %r2, "
         "0;\n" +
         before + "$L:\n" + body + "add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p1, %r2, 2000;\n@%p1 bra $L;\nret;\n}\n";
}

void measure(const char* name, const std::string& before, const std::string& body, bool memory) {
  Rig rig(loop(before, body));
  const uint64_t data = rig.memory.allocate(1 << 16);
  Launch launch;
  launch.block[0] = 256;
  launch.grid[0] = 8;
  launch.count_memory = memory;
  double best = 0;
  for (int i = 0; i < 3; i++) {
    const auto from = std::chrono::steady_clock::now();
    const Counters counters = must_run(rig, "k", launch, {data});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - from;
    best = std::max(best, static_cast<double>(counters.thread_total()) / seconds.count());
  }
  std::printf("%-34s %.2f G thread-instructions/s\n", name, best / 1e9);
}

std::string repeated(const std::string& text, int n) {
  std::string all;
  for (int i = 0; i < n; i++) all += text;
  return all;
}

}  // namespace
}  // namespace check

int main() {
  using check::measure, check::repeated;
  measure("fma.rn.f32", "", repeated("fma.rn.f32 %f1, %f2, %f3, %f1;\n", 16), false);
  measure("integer add, mul, and", "",
          repeated("add.s32 %r5, %r6, %r7;\nmul.lo.s32 %r6, %r5, 3;\nand.b32 %r7, %r5, 255;\n", 5), false);
  measure("ld.global and fma", "", repeated("ld.global.f32 %f1, [%rd3];\nfma.rn.f32 %f2, %f1, %f3, %f2;\n", 8), false);
  measure("the same, sectors counted", "", repeated("ld.global.f32 %f1, [%rd3];\nfma.rn.f32 %f2, %f1, %f3, %f2;\n", 8),
          true);
  measure("ld.shared.v4 and 4 fma", "",
          repeated("ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [%r3];\nfma.rn.f32 %f5, %f1, %f2, %f5;\nfma.rn.f32 %f6, "
                   "%f1, %f3, %f6;\nfma.rn.f32 %f7, %f1, %f4, %f7;\nfma.rn.f32 %f8, %f2, %f4, %f8;\n",
                   4),
          false);
  measure("mma m16n8k16 (an instruction)", "",
          repeated("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r5, %r6, %r7, %r8}, "
                   "{%r9, %r10}, {%f1, %f2, %f3, %f4};\n",
                   4),
          false);
}
