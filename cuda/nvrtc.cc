// NVRTC, opened at run time; see nvrtc.h. The declarations are our own, so that no toolkit is needed to build.

#include "nvrtc.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>

#if !defined(_WIN32)
#include <csignal>
#endif

#include "error.h"
#include "library.h"

namespace fracstride {

namespace {

#if defined(_WIN32)
struct SignalActions {};
#else
// Puts back what signals did before a compilation. NVRTC puts in handlers of its own and takes them out again by
// signal(), which forgets flags: Node's handler of SIGTERM and SIGINT, meant to act once, would then raise the signal
// for ever.
class SignalActions {
 public:
  SignalActions() {
    sigset_t held;
    sigemptyset(&held);
    for (size_t i = 0; i < kCount; ++i) {
      sigaction(kNumbers[i], nullptr, &actions_[i]);
      sigaddset(&held, kNumbers[i]);
    }
    pthread_sigmask(SIG_BLOCK, &held, &mask_);
  }
  ~SignalActions() {
    for (size_t i = 0; i < kCount; ++i) sigaction(kNumbers[i], &actions_[i], nullptr);
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  }
  SignalActions(const SignalActions&) = delete;
  SignalActions& operator=(const SignalActions&) = delete;

 private:
  static constexpr int kNumbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ, SIGPIPE, SIGUSR1, SIGUSR2};
  static constexpr size_t kCount = sizeof kNumbers / sizeof *kNumbers;
  struct sigaction actions_[kCount] = {};
  sigset_t mask_;
};
#endif

using Result = int;
struct Program_st;
using Program = Program_st*;

constexpr Result kSuccess = 0;
constexpr Result kInvalidOption = 5;
constexpr Result kCompilation = 6;
constexpr size_t kLogLines = 12;

#define FS_NVRTC_ENTRIES(ENTRY)                                                                                        \
  ENTRY(nvrtcVersion, version, (int*, int*))                                                                           \
  ENTRY(nvrtcCreateProgram, create, (Program*, const char*, const char*, int, const char* const*, const char* const*)) \
  ENTRY(nvrtcCompileProgram, compile, (Program, int, const char* const*))                                              \
  ENTRY(nvrtcGetProgramLogSize, log_size, (Program, size_t*))                                                          \
  ENTRY(nvrtcGetProgramLog, log, (Program, char*))                                                                     \
  ENTRY(nvrtcGetPTXSize, ptx_size, (Program, size_t*))                                                                 \
  ENTRY(nvrtcGetPTX, ptx, (Program, char*))                                                                            \
  ENTRY(nvrtcDestroyProgram, destroy, (Program*))

// Not in the oldest versions.
#define FS_NVRTC_OPTIONAL_ENTRIES(ENTRY)                   \
  ENTRY(nvrtcGetNumSupportedArchs, arch_count, (int*))     \
  ENTRY(nvrtcGetSupportedArchs, archs, (int*))             \
  ENTRY(nvrtcGetCUBINSize, cubin_size, (Program, size_t*)) \
  ENTRY(nvrtcGetCUBIN, cubin, (Program, char*))

struct Library {
  NvrtcInfo info;
#define FS_FIELD(symbol, field, parameters) Result(*field) parameters = nullptr;
  FS_NVRTC_ENTRIES(FS_FIELD)
  FS_NVRTC_OPTIONAL_ENTRIES(FS_FIELD)
#undef FS_FIELD
  const char* (*error_string)(Result) = nullptr;

  std::string explain(Result result) const {
    const char* text = error_string == nullptr ? nullptr : error_string(result);
    return text == nullptr ? "NVRTC error " + std::to_string(result) : text;
  }
};

const char* const kAdvice =
    "; install NVRTC (CUDA toolkit, or Debian's libnvrtc11.2), or set FRACSTRIDE_LIBNVRTC to the path of the library";

std::vector<std::string> candidates() {
  const char* chosen = std::getenv("FRACSTRIDE_LIBNVRTC");
  if (chosen != nullptr && chosen[0] != '\0') return {chosen};
#ifdef _WIN32
  return {"nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll"};
#else
  return {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"};
#endif
}

void* open_first(NvrtcInfo& info) {
  std::string problems;
  for (const std::string& name : candidates()) {
    if (void* library = open_library(name.c_str())) {
      info.path = name;
      return library;
    }
    problems += (problems.empty() ? "" : "; ") + library_problem();
  }
  info.reason = "NVRTC could not be opened (" + problems + ")" + kAdvice;
  return nullptr;
}

// The name of the first entry that the library lacks, or null.
const char* find_entries(void* opened, Library& library) {
#define FS_FIND(symbol, field, parameters) \
  library.field = reinterpret_cast<decltype(library.field)>(find_symbol(opened, #symbol));
  FS_NVRTC_ENTRIES(FS_FIND)
  FS_NVRTC_OPTIONAL_ENTRIES(FS_FIND)
  FS_FIND(nvrtcGetErrorString, error_string, )
#undef FS_FIND
#define FS_LACKS(symbol, field, parameters) \
  if (library.field == nullptr) return #symbol;
  FS_NVRTC_ENTRIES(FS_LACKS)
#undef FS_LACKS
  return nullptr;
}

Library open_nvrtc() {
  Library library;
  NvrtcInfo& info = library.info;
  void* opened = open_first(info);
  if (opened == nullptr) return library;
  if (const char* absent = find_entries(opened, library)) {
    info.reason = info.path + " has no entry " + absent + kAdvice;
    return library;
  }
  const Result result = library.version(&info.major, &info.minor);
  if (result != kSuccess) {
    info.reason = "asking " + info.path + " for its version failed with " + library.explain(result) + kAdvice;
    return library;
  }
  int count = 0;
  if (library.arch_count != nullptr && library.archs != nullptr && library.arch_count(&count) == kSuccess &&
      count > 0) {
    info.architectures.resize(size_t(count));
    if (library.archs(info.architectures.data()) != kSuccess) info.architectures.clear();
  }
  info.available = true;
  return library;
}

const Library& nvrtc() {
  static const Library* const opened = new Library(open_nvrtc());
  return *opened;
}

struct Destroy {
  void operator()(Program program) const { nvrtc().destroy(&program); }
};
using Owned = std::unique_ptr<Program_st, Destroy>;

std::string log_of(const Library& library, Program program) {
  size_t size = 0;
  if (library.log_size(program, &size) != kSuccess || size <= 1) return "";
  std::string log(size, '\0');
  if (library.log(program, &log[0]) != kSuccess) return "";
  log.resize(log.find_last_not_of(std::string("\0 \n", 3)) + 1);
  return log;
}

// What a sentence can hold of a log: its first lines that say something.
std::string first_lines(const std::string& log) {
  std::string lines;
  size_t count = 0;
  for (size_t at = 0; at < log.size();) {
    const size_t end = std::min(log.find('\n', at), log.size());
    if (end > at && count++ == kLogLines) return lines + "\n…";
    if (end > at) lines += (lines.empty() ? "" : "\n") + log.substr(at, end - at);
    at = end + 1;
  }
  return lines;
}

[[noreturn]] void refuse(const std::string& name, const std::string& got) {
  throw Error("ERR_KERNEL_COMPILE", "nvrtc: " + name + " must compile, got " + got);
}

std::vector<char> image_of(const Library& library, const std::string& name, Program program, bool cubin) {
  const auto size_of = cubin ? library.cubin_size : library.ptx_size;
  const auto get = cubin ? library.cubin : library.ptx;
  if (size_of == nullptr || get == nullptr) refuse(name, "an NVRTC that makes no machine code, only PTX");
  size_t size = 0;
  Result result = size_of(program, &size);
  std::vector<char> bytes(size);
  if (result == kSuccess && size != 0) result = get(program, bytes.data());
  if (result != kSuccess) refuse(name, library.explain(result));
  if (!cubin && !bytes.empty() && bytes.back() == '\0') bytes.pop_back();
  if (bytes.empty()) {
    refuse(name, cubin ? "no machine code; --gpu-architecture has to name a real architecture, as sm_90" : "no PTX");
  }
  return bytes;
}

}  // namespace

const NvrtcInfo& nvrtc_info() {
  return nvrtc().info;
}

NvrtcImage nvrtc_compile(const std::string& name, const std::string& source, const std::vector<std::string>& options,
                         bool cubin) {
  const Library& library = nvrtc();
  if (!library.info.available) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "nvrtc: NVRTC must be usable, got none: " + library.info.reason);
  }
  // One at a time: versions before 12 share state inside, and what signals do belongs to the whole process.
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const SignalActions before;

  Program created = nullptr;
  const Result made = library.create(&created, source.c_str(), (name + ".cu").c_str(), 0, nullptr, nullptr);
  if (made != kSuccess) refuse(name, library.explain(made));
  const Owned program(created);
  std::vector<const char*> arguments;
  for (const std::string& option : options) arguments.push_back(option.c_str());
  const Result result = library.compile(program.get(), int(arguments.size()), arguments.data());
  NvrtcImage image;
  image.log = log_of(library, program.get());
  if (result != kSuccess) {
    const bool told = (result == kCompilation || result == kInvalidOption) && !image.log.empty();
    refuse(name, told ? first_lines(image.log)
                      : library.explain(result) + (image.log.empty() ? "" : ": " + first_lines(image.log)));
  }
  image.bytes = image_of(library, name, program.get(), cubin);
  return image;
}

}  // namespace fracstride
