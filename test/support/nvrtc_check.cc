// Compiles with the NVRTC of FRACSTRIDE_LIBNVRTC and prints what came of it.
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "cuda/error.h"
#include "cuda/nvrtc.h"

using namespace fracstride;

namespace {

void compile(const std::string& source, const std::vector<std::string>& options, bool cubin) {
  try {
    const NvrtcImage image = nvrtc_compile("fill", source, options, cubin);
    std::printf("%s|%s\n", std::string(image.bytes.data(), image.bytes.size()).c_str(), image.log.c_str());
  } catch (const Error& error) {
    std::printf("%s %s\n", error.code(), error.what());
  }
}

// Whether a handler that acts once still is one.
bool acts_once() {
  struct sigaction action = {};
  sigaction(SIGTERM, nullptr, &action);
  return (action.sa_flags & SA_RESETHAND) != 0;
}

}  // namespace

int main() {
  struct sigaction once = {};
  once.sa_handler = [](int) {};
  once.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGTERM, &once, nullptr);
  const NvrtcInfo& info = nvrtc_info();
  std::printf("%d %d.%d", int(info.available), info.major, info.minor);
  for (const int arch : info.architectures) std::printf(" %d", arch);
  std::printf(" %s\n", info.reason.c_str());
  compile("void fill() {}", {"--gpu-architecture=compute_80", "-std=c++17"}, false);
  compile("void fill() {}", {"--gpu-architecture=sm_90"}, true);
  compile("void fill() {}", {"--gpu-architecture=compute_90"}, true);
  compile("void fill() {}", {"--odd"}, false);
  compile("wrong", {}, false);
  if (!info.available) return 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int turn = 0; turn < 100; ++turn) nvrtc_compile("fill", "void fill() {}", {}, false);
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!acts_once()) std::printf("a handler of signals has lost its flags\n");
}
