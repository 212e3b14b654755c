// What threads do together: shuffles, votes, atomics, matrices; and control flow.
#include <cmath>

#include "machine_check.h"

namespace check {
namespace {

// One 32-bit result of each of 32 threads whose inputs are 0, 3, 6, ... in %r1.
std::vector<uint32_t> lanes(const std::string& body) {
  std::vector<Words> inputs;
  for (uint64_t t = 0; t < 32; t++) inputs.push_back({3 * t});
  std::vector<uint32_t> results;
  for (const Words& w : evaluate("ld.global.u32 %r1, [%rd0];\n" + body + "\nst.global.u32 [%rd1], %r2;", inputs))
    results.push_back(static_cast<uint32_t>(w[0]));
  return results;
}

template <class F>
void each_lane(const std::string& body, F expected) {
  const auto got = lanes(body);
  for (uint32_t t = 0; t < 32; t++)
    same<uint32_t>("lane " + std::to_string(t), got[t], static_cast<uint32_t>(expected(t)));
}

Add shuffles("shuffles take values of other lanes, and say whether they did", [] {
  each_lane("shfl.sync.idx.b32 %r2, %r1, 5, 31, -1;", [](uint32_t) { return 15; });
  each_lane("shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;", [](uint32_t t) { return 3 * (t ^ 16); });
  each_lane("shfl.sync.up.b32 %r2, %r1, 1, 0, -1;", [](uint32_t t) { return 3 * (t == 0 ? 0 : t - 1); });
  each_lane("shfl.sync.down.b32 %r2|%p1, %r1, 4, 31, -1;\n@!%p1 mov.u32 %r2, 999;",
            [](uint32_t t) { return t < 28 ? 3 * (t + 4) : 999; });
  // Segments of 8 lanes: clamp 7, segment mask 24.
  each_lane("shfl.sync.down.b32 %r2, %r1, 1, 6175, -1;", [](uint32_t t) { return 3 * (t % 8 == 7 ? t : t + 1); });
  each_lane("shfl.sync.idx.b32 %r2, %r1, 2, 6175, -1;", [](uint32_t t) { return 3 * (t / 8 * 8 + 2); });
});

Add votes("votes, matches and reductions see the members", [] {
  const std::string odd = "and.b32 %r3, %r1, 1;\nsetp.eq.u32 %p1, %r3, 1;\n";
  each_lane(odd + "vote.sync.ballot.b32 %r2, %p1, -1;", [](uint32_t) { return 0xaaaaaaaa; });
  each_lane(odd +
                "vote.sync.any.pred %p2, %p1, -1;\nvote.sync.all.pred %p3, %p1, -1;\nselp.b32 %r2, 1, 0, %p2;\n@%p3 "
                "add.u32 %r2, %r2, 2;",
            [](uint32_t) { return 1; });
  each_lane(odd + "vote.sync.uni.pred %p2, !%p1, -1;\nselp.b32 %r2, 1, 0, %p2;", [](uint32_t) { return 0; });
  each_lane("activemask.b32 %r2;", [](uint32_t) { return 0xffffffff; });
  each_lane("redux.sync.add.u32 %r2, %r1, -1;", [](uint32_t) { return 3 * 496; });
  each_lane("redux.sync.max.s32 %r2, %r1, -1;", [](uint32_t) { return 93; });
  each_lane("and.b32 %r3, %r0, 3;\nmatch.any.sync.b32 %r2, %r3, -1;",
            [](uint32_t t) { return 0x11111111u << (t & 3); });
  each_lane("mov.u32 %r3, 4;\nmatch.all.sync.b32 %r2|%p1, %r3, -1;", [](uint32_t) { return 0xffffffff; });
  // Half of the warp alone.
  each_lane("mov.u32 %r2, 7;\nsetp.lt.u32 %p1, %r0, 16;\n@!%p1 bra $E;\nredux.sync.add.u32 %r2, %r0, 65535;\n$E:",
            [](uint32_t t) { return t < 16 ? 120 : 7; });
  each_lane("mov.u32 %r2, %lanemask_lt;\nmov.u32 %r3, %lanemask_ge;\nxor.b32 %r2, %r2, %r3;",
            [](uint32_t) { return 0xffffffff; });
});

Add divergence("lanes that part come together again, through loops and out-of-order blocks", [] {
  // Collatz steps of each lane; then all 32 vote.
  const std::string collatz =
      "add.u32 %r3, %r0, 1;\nmov.u32 %r2, 0;\n$L: setp.eq.u32 %p1, %r3, 1;\n@%p1 bra $D;\nand.b32 %r4, %r3, "
      "1;\nsetp.eq.u32 %p2, %r4, 0;\n"
      "@%p2 bra $H;\nmad.lo.u32 %r3, %r3, 3, 1;\nbra $N;\n$H: shr.u32 %r3, %r3, 1;\n$N: add.u32 %r2, %r2, 1;\nbra "
      "$L;\n$D: activemask.b32 %r5;\n"
      "setp.eq.u32 %p3, %r5, -1;\n@!%p3 mov.u32 %r2, 9999;";
  each_lane(collatz, [](uint32_t t) {
    uint32_t n = t + 1, steps = 0;
    for (; n != 1; steps++) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
    return steps;
  });
  // The body of an if behind the barrier that follows it.
  each_lane(
      "mov.u32 %r2, 1;\nsetp.lt.u32 %p1, %r0, 8;\n@%p1 bra $FAR;\n$BACK: bar.sync 0;\nadd.u32 %r2, %r2, 100;\nbra "
      "$END;\n$FAR: mov.u32 %r2, 5;\nbra $BACK;\n$END:",
      [](uint32_t t) { return t < 8 ? 105 : 101; });
  each_lane(
      "rem.u32 %r3, %r0, 3;\nmov.u32 %r2, 9;\nT: .branchtargets $A, $B, $C;\nbrx.idx %r3, T;\n$A: mov.u32 %r2, "
      "10;\nbra $E;\n$B: mov.u32 %r2, 20;\nbra $E;\n$C: mov.u32 %r2, 30;\n$E:",
      [](uint32_t t) { return 10 * (t % 3 + 1); });
  each_lane(
      "mov.u32 %r2, 1;\n{\n.reg .b32 %r2;\nmov.u32 %r2, 50;\nL1: add.u32 %r2, %r2, 1;\n}\n{\nL1: add.u32 %r2, %r2, "
      "1;\n}",
      [](uint32_t) { return 2; });
});

Add barriers("bar.red counts, and, or; bar.arrive lets a producer go on", [] {
  each_lane("setp.lt.u32 %p1, %r0, 5;\nbar.red.popc.u32 %r2, 0, %p1;", [](uint32_t) { return 5; });
  each_lane(
      "setp.lt.u32 %p1, %r0, 5;\nbar.red.or.pred %p2, 0, %p1;\nbar.red.and.pred %p3, 0, !%p1;\nselp.b32 %r2, 1, 0, "
      "%p2;\n@%p3 add.u32 %r2, %r2, 2;",
      [](uint32_t) { return 1; });
  each_lane("mov.u32 %r2, 3;\nbarrier.sync 1, 32;\nbar.warp.sync -1;", [](uint32_t) { return 3; });
});

Add calls("device functions take and give values in .param space", [] {
  const std::string ptx =
      ".version 8.0\n.target sm_90\n.address_size 64\n.global .align 8 .u64 table[2] = {7, 9};\n.global .u64 where = "
      "generic(table)+8;\n"
      ".func (.param .b32 r) twice(.param .b32 a, .param .align 4 .b8 s[8])\n{\n.reg .b32 %r<9>;\n.reg .pred "
      "%p<2>;\nld.param.u32 %r1, [a];\nld.param.u32 %r2, [s+4];\n"
      "setp.eq.u32 %p1, %r1, 3;\nmov.u32 %r3, 77;\nst.param.b32 [r], %r3;\n@%p1 ret;\nadd.u32 %r3, %r1, %r1;\nadd.u32 "
      "%r3, %r3, %r2;\nst.param.b32 [r], %r3;\nret;\n}\n"
      ".visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\nld.param.u64 %rd1, [out];\nmov.u32 "
      "%r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd1, %rd1, %rd2;\n"
      "{\n.param .b32 p0;\nst.param.b32 [p0+0], %r1;\n.param .align 4 .b8 p1[8];\nst.param.b32 [p1+0], "
      "1;\nst.param.b32 [p1+4], 1000;\n.param .b32 r0;\ncall.uni (r0), twice, (p0, p1);\nld.param.b32 %r2, [r0+0];\n}\n"
      "ld.global.u64 %rd3, [where];\nld.u64 %rd4, [%rd3];\ncvt.u32.u64 %r3, %rd4;\nadd.u32 %r2, %r2, "
      "%r3;\nst.global.u32 [%rd1], %r2;\nret;\n}\n";
  Rig rig(ptx);
  const uint64_t out = rig.array(std::vector<uint32_t>(32));
  Launch launch;
  launch.block[0] = 32;
  must_run(rig, "k", launch, {out});
  const auto got = rig.read<uint32_t>(out, 32);
  for (uint32_t t = 0; t < 32; t++) same<uint32_t>("thread " + std::to_string(t), got[t], t == 3 ? 86 : 2 * t + 1009);
});

Add atomics("atomics add up over blocks and host threads, and give the old value", [] {
  const std::string ptx =
      ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg "
      ".b64 %rd<9>;\n.reg .f32 %f<3>;\n"
      ".shared .align 4 .b8 s[4];\nld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nred.global.add.u32 [%rd1], "
      "%r1;\nred.global.max.s32 [%rd1+4], %r1;\n"
      "red.relaxed.gpu.global.or.b32 [%rd1+8], 4;\nred.global.add.u64 [%rd1+16], 1;\nret;\n}\n"
      ".visible .entry one(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<3>;\nld.param.u64 "
      "%rd1, [out];\n"
      "atom.global.inc.u32 %r2, [%rd1], 20;\natom.global.cas.b32 %r3, [%rd1+4], 0, 5;\natom.global.exch.b32 %r4, "
      "[%rd1+8], 9;\natom.global.add.f32 %f1, [%rd1+12], 0f3F000000;\n"
      "red.global.add.noftz.f16x2 [%rd1+16], 1006648320;\nret;\n}\n";
  Rig rig(ptx);
  const uint64_t out = rig.array(std::vector<uint32_t>(8, 0));
  Launch launch;
  launch.block[0] = 64, launch.grid[0] = 100, launch.host_threads = 4;
  must_run(rig, "k", launch, {out});
  auto got = rig.read<uint32_t>(out, 8);
  same<uint32_t>("sum", got[0], 100 * 2016);
  same<uint32_t>("maximum", got[1], 63);
  same<uint32_t>("or", got[2], 4);
  same<uint32_t>("count", got[4], 6400);
  const uint64_t two = rig.array(std::vector<uint32_t>(8, 0));
  launch.block[0] = 32, launch.grid[0] = 1;
  must_run(rig, "one", launch, {two});
  got = rig.read<uint32_t>(two, 8);
  same<uint32_t>("inc", got[0], 32 % 21);
  same<uint32_t>("cas", got[1], 5);
  same<uint32_t>("exch", got[2], 9);
  same<uint32_t>("float", got[3], bits(16.0f));
  same<uint32_t>("halves", got[4], 0x50005000);  // 32 times 1 in each
});

// ldmatrix of x4, plain and transposed, against its definition.
Add matrices("ldmatrix hands out rows, or columns with .trans", [] {
  for (const bool transposed : {false, true}) {
    const std::string body =
        ".shared .align 16 .b8 box[512];\nshl.b32 %r1, %r0, 4;\nmov.u32 %r2, box;\nadd.u32 %r1, %r1, %r2;\n"
        "ld.global.v2.u64 {%rd5, %rd6}, [%rd0];\nst.shared.v2.u64 [%r1], {%rd5, %rd6};\nbar.sync 0;\n"
        "ldmatrix.sync.aligned.m8n8.x4" +
        std::string(transposed ? ".trans" : "") +
        ".shared.b16 {%r3, %r4, %r5, %r6}, [%r1];\nst.global.v4.u32 [%rd1], {%r3, %r4, %r5, %r6};";
    std::vector<Words> rows;  // of four matrices: element (row, column) = 8 * row + column
    const auto element = [](uint64_t row, uint64_t column) { return 8 * row + column + 1; };
    for (uint64_t r = 0; r < 32; r++) {
      Words w(2, 0);
      for (uint64_t c = 0; c < 8; c++) w[c / 4] |= element(r, c) << (16 * (c % 4));
      rows.push_back(w);
    }
    const auto got = evaluate(body, rows);
    for (uint64_t lane = 0; lane < 32; lane++)
      for (uint64_t j = 0; j < 4; j++) {
        const uint64_t g = lane / 4, t = lane % 4;
        const uint64_t low = transposed ? element(8 * j + 2 * t, g) : element(8 * j + g, 2 * t);
        const uint64_t high = transposed ? element(8 * j + 2 * t + 1, g) : element(8 * j + g, 2 * t + 1);
        same<uint64_t>("register " + std::to_string(j) + " of lane " + std::to_string(lane),
                       got[lane][j / 2] >> (32 * (j % 2)) & 0xffffffff, low | high << 16);
      }
  }
});

// Small whole numbers, exact in every format, so that the product is exact whatever the order of the sums.
int a_of(int m, int k) {
  return (m * 5 + k * 3) % 13 - 6;
}
int b_of(int k, int n) {
  return (k * 7 + n * 2) % 11 - 5;
}
int c_of(int m, int n) {
  return m - 2 * n;
}

uint32_t half_of(int x, bool bf16) {
  if (bf16) return bits(static_cast<float>(x)) >> 16;
  if (x == 0) return 0;
  const int magnitude = std::abs(x), exponent = static_cast<int>(std::log2(magnitude));
  return (x < 0 ? 0x8000u : 0u) | static_cast<uint32_t>(exponent + 15) << 10 |
         static_cast<uint32_t>((magnitude << 10 >> exponent) & 1023);
}

void multiply(const std::string& types, int depth, int per_word, bool half_sum) {
  const bool bf16 = types.find("bf16") != std::string::npos, tf32 = per_word == 1;
  const int step = 4 * per_word, na = 2 * depth / step, nb = depth / step, nc = half_sum ? 2 : 4;
  const auto word = [&](auto value, int k) {
    if (tf32) return bits(static_cast<float>(value(k)));
    return half_of(value(k), bf16) | half_of(value(k + 1), bf16) << 16;
  };
  std::vector<Words> inputs;
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    std::vector<uint32_t> list;
    for (int r = 0; r < na; r++)
      list.push_back(word([&](int k) { return a_of(g + 8 * (r % 2), k); }, per_word * t + step * (r / 2)));
    for (int r = 0; r < nb; r++) list.push_back(word([&](int k) { return b_of(k, g); }, per_word * t + step * r));
    list.resize(8);
    Words w;
    for (int i = 0; i < 8; i += 2) w.push_back(list[i] | static_cast<uint64_t>(list[i + 1]) << 32);
    inputs.push_back(w);
  }
  std::string body =
      "ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd0];\nld.global.v4.u32 {%r14, %r15, %r16, %r17}, [%rd0+16];\n";
  // The sums that go in are made from the lane: c(m, n) = m - 2n.
  body += "shr.u32 %r1, %r0, 2;\nand.b32 %r2, %r0, 3;\nmul.lo.u32 %r2, %r2, 4;\nsub.s32 %r1, %r1, %r2;\n";
  for (int r = 0; r < 4; r++)
    body += "add.s32 %r3, %r1, " + std::to_string(8 * (r / 2) - 2 * (r % 2)) + ";\ncvt.rn.f32.s32 %f" +
            std::to_string(r + 1) + ", %r3;\n";
  if (half_sum) body += "cvt.rn.f16x2.f32 %r20, %f2, %f1;\ncvt.rn.f16x2.f32 %r21, %f4, %f3;\n";
  const auto list = [](const char* prefix, int from, int count) {
    std::string text = "{";
    for (int i = 0; i < count; i++) text += (i > 0 ? ", " : "") + std::string(prefix) + std::to_string(from + i);
    return text + "}";
  };
  const std::string sums = half_sum ? list("%r", 20, 2) : list("%f", 1, 4);
  body += "mma.sync.aligned.m16n8k" + std::to_string(depth) + ".row.col." + types + " " + sums + ", " +
          list("%r", 10, na) + ", " + list("%r", 10 + na, nb) + ", " + sums + ";\n";
  if (half_sum)
    body +=
        "mov.b32 {%rs1, %rs2}, %r20;\nmov.b32 {%rs3, %rs4}, %r21;\ncvt.f32.f16 %f1, %rs1;\ncvt.f32.f16 %f2, "
        "%rs2;\ncvt.f32.f16 %f3, %rs3;\ncvt.f32.f16 %f4, %rs4;\n";
  body += "st.global.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};";
  const auto got = evaluate(body, inputs);
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < nc * (half_sum ? 2 : 1); r++) {
      const int m = lane / 4 + 8 * (r / 2), n = 2 * (lane % 4) + r % 2;
      double sum = c_of(m, n);
      for (int k = 0; k < depth; k++) sum += a_of(m, k) * b_of(k, n);
      same<uint64_t>(types + " (" + std::to_string(m) + ", " + std::to_string(n) + ")",
                     got[lane][r / 2] >> (32 * (r % 2)) & 0xffffffff, bits(static_cast<float>(sum)));
    }
}

Add products("mma.sync is the matrix product, in every shape and type", [] {
  multiply("f32.tf32.tf32.f32", 8, 1, false);
  multiply("f32.tf32.tf32.f32", 4, 1, false);
  multiply("f32.f16.f16.f32", 16, 2, false);
  multiply("f32.f16.f16.f32", 8, 2, false);
  multiply("f32.bf16.bf16.f32", 16, 2, false);
  multiply("f32.bf16.bf16.f32", 8, 2, false);
  multiply("f16.f16.f16.f16", 16, 2, true);
  multiply("f16.f16.f16.f16", 8, 2, true);
});

Counters counted(const std::string& body) {
  Rig rig(around(body));
  const uint64_t in = rig.memory.allocate(1 << 16), out = rig.memory.allocate(1 << 16);
  Launch launch;
  launch.block[0] = 32;
  launch.count_memory = true;
  return must_run(rig, "k", launch, {in, out});
}

Add counts("instructions, sectors and wavefronts are counted", [] {
  // 32 threads, 32 bytes apart: a sector each; 4 bytes apart: four.
  Counters c = counted("ld.global.u32 %r1, [%rd0];\nfma.rn.f32 %f1, %f2, %f3, %f4;\nfma.rn.f16x2 %r2, %r3, %r4, %r5;");
  same<uint64_t>("sectors", c.global_load_sectors, 32);
  same<uint64_t>("sectors that would do", c.global_load_least, 4);
  same<uint64_t>("requests", c.global_load_requests, 1);
  same<uint64_t>("multiply-adds", c.multiply_adds, 32 + 64);
  same<uint64_t>("fp32", c.thread[kFloat], 32);
  same<uint64_t>("half", c.warp[kHalf], 1);
  c = counted("mul.wide.u32 %rd5, %r0, 28;\nsub.u64 %rd0, %rd0, %rd5;\nst.global.u32 [%rd0], %r1;");
  same<uint64_t>("sectors of neighbours", c.global_store_sectors, 4);
  same<uint64_t>("sectors that would do for neighbours", c.global_store_least, 4);
  const std::string box = ".shared .align 16 .b8 box[16384];\nmov.u32 %r1, box;\n";
  c = counted(box +
              "mad.lo.u32 %r2, %r0, 4, %r1;\nld.shared.u32 %r3, [%r2];\nmad.lo.u32 %r2, %r0, 128, %r1;\nst.shared.u32 "
              "[%r2], %r3;");
  same<uint64_t>("wavefronts without a conflict", c.shared_load_wavefronts, 1);
  same<uint64_t>("wavefronts, all in one bank", c.shared_store_wavefronts, 32);
  c = counted(
      box + "mad.lo.u32 %r2, %r0, 16, %r1;\nld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r2];\nld.shared.u32 %r3, [%r1];");
  same<uint64_t>("wavefronts of 16 bytes a thread and of one word for all", c.shared_load_wavefronts, 5);
  same<uint64_t>("the least", c.shared_load_least, 5);
});

}  // namespace
}  // namespace check
