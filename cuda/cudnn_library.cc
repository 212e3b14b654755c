#include "cudnn_library.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "call_trace.h"
#include "error.h"
#include "library.h"

namespace fracstride {

const char* const kCudnnPartsAdvice =
    "; put all libcudnn_*.so of one cuDNN version into one directory and name that in LD_LIBRARY_PATH";

namespace {

constexpr size_t kOldest = 8000;
// The library without its parts is smaller; anything larger needs none.
constexpr std::streamoff kLargestFront = 4 << 20;

const char* const kAdvice =
    "; install cuDNN 9 or 8 for your CUDA version, or set FRACSTRIDE_LIBCUDNN to the path of the library";

std::vector<std::string> candidates() {
  const char* chosen = std::getenv("FRACSTRIDE_LIBCUDNN");
  if (chosen != nullptr && chosen[0] != '\0') return {chosen};
#ifdef _WIN32
  return {"cudnn64_9.dll", "cudnn64_8.dll"};
#else
  return {"libcudnn.so.9", "libcudnn.so.8"};
#endif
}

void* open_first(CudnnInfo& info) {
  std::string problems;
  for (const std::string& name : candidates()) {
    if (void* library = open_library(name.c_str(), true)) {
      info.path = name;
      return library;
    }
    problems += (problems.empty() ? "" : "; ") + library_problem();
  }
  info.reason = "cuDNN could not be opened (" + problems + ")" + kAdvice;
  return nullptr;
}

// The name of the first entry that the library lacks, or null.
const char* find_entries(void* opened, cudnn::Entries& call) {
#define FS_FIND(symbol, field, ...) call.field = reinterpret_cast<decltype(call.field)>(find_symbol(opened, #symbol));
  FS_FIND(cudnnGetVersion, version)
  FS_FIND(cudnnGetErrorString, error_string)
  FS_FIND(cudnnGetLastErrorString, last_error_string)
  FS_CUDNN_ENTRIES(FS_FIND)
  FS_CUDNN_OPTIONAL_ENTRIES(FS_FIND)
#undef FS_FIND
#define FS_LACKS(symbol, field, ...) \
  if (call.field == nullptr) return #symbol;
  FS_LACKS(cudnnGetVersion, version)
  FS_LACKS(cudnnGetErrorString, error_string)
  FS_CUDNN_ENTRIES(FS_LACKS)
#undef FS_LACKS
  return nullptr;
}

#define FS_NAME(symbol, field, parameters)       \
  struct Name_##field {                          \
    static constexpr const char* text = #symbol; \
  };
FS_CUDNN_ENTRIES(FS_NAME)
FS_CUDNN_OPTIONAL_ENTRIES(FS_NAME)
#undef FS_NAME

void trace_cudnn(cudnn::Entries& call) {
#define FS_TRACE(symbol, field, parameters) trace_calls<Name_##field>(call.field);
  FS_CUDNN_ENTRIES(FS_TRACE)
  FS_CUDNN_OPTIONAL_ENTRIES(FS_TRACE)
#undef FS_TRACE
}

// Whether the file is the small front of a cuDNN that opens its parts by name.
bool needs_parts(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() > kLargestFront) return false;
  file.seekg(0);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return text.find("libcudnn_cnn") != std::string::npos;
}

// cuDNN ends the process when it cannot open one of its parts. So they are opened first: from its own directory, where
// it then finds them, else from where the loader looks. Returns why one is missing, or nothing.
std::string open_parts(const CudnnInfo& info) {
#ifdef _WIN32
  (void)info;
  return "";
#else
  const bool nine = info.version >= 9000;
  const std::vector<std::string> parts =
      nine ? std::vector<std::string>{"graph", "ops", "cnn"}
           : std::vector<std::string>{"ops_infer", "ops_train", "cnn_infer", "cnn_train"};
  if (!needs_parts(info.path)) return "";
  const size_t slash = info.path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : info.path.substr(0, slash + 1);
  for (const std::string& part : parts) {
    const std::string name = "libcudnn_" + part + (nine ? ".so.9" : ".so.8");
    if (open_library((folder + name).c_str(), true) != nullptr) continue;
    if (open_library(name.c_str(), true) == nullptr) {
      return info.path + " needs " + name + ", which could not be opened (" + library_problem() + ")" +
             kCudnnPartsAdvice;
    }
  }
  return "";
#endif
}

void open_cudnn(CudnnLibrary& library) {
  CudnnInfo& info = library.info;
  void* opened = open_first(info);
  if (opened == nullptr) return;
  const char* absent = find_entries(opened, library.call);
  if (library.call.version != nullptr) {
    info.version = library.call.version();
    info.path = file_of_symbol(reinterpret_cast<const void*>(library.call.version), info.path);
  }
  if (info.version != 0 && info.version < kOldest) {
    info.reason =
        info.path + " is cuDNN " + std::to_string(info.version) + ", and 8000 is the oldest that can be used" + kAdvice;
  } else if (absent != nullptr) {
    info.reason = info.path + " has no entry " + absent + kAdvice;
  } else {
    info.reason = open_parts(info);
  }
  info.available = info.reason.empty();
  if (info.available && traces_calls()) trace_cudnn(library.call);
}

}  // namespace

CudnnLibrary& cudnn_library() {
  static CudnnLibrary* const library = [] {
    auto* made = new CudnnLibrary;
    open_cudnn(*made);
    return made;
  }();
  return *library;
}

CudnnInfo cudnn_info() {
  CudnnLibrary& library = cudnn_library();
  std::lock_guard<std::mutex> lock(library.mutex);
  return library.info;
}

void cudnn_unavailable(const char* where, const std::string& reason) {
  throw Error("ERR_DEVICE_UNAVAILABLE", std::string(where) + ": cuDNN must be usable, got none: " + reason);
}

std::string explain(const cudnn::Entries& call, cudnn::Status status) {
  const char* name = call.error_string(status);
  std::string text = (name == nullptr ? "status " : name) + (" (" + std::to_string(status) + ")");
  if (call.last_error_string == nullptr) return text;
  char message[256] = "";
  call.last_error_string(message, sizeof message);
  message[sizeof message - 1] = '\0';
  std::string said = message;
  std::replace(said.begin(), said.end(), '\n', ' ');
  said.erase(said.find_last_not_of(' ') + 1);
  return said.empty() ? text : text + ": " + said;
}

}  // namespace fracstride
