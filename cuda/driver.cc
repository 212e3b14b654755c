// Opens the CUDA driver library; see driver.h.

#include "driver.h"

#include <cstdlib>

#include "call_trace.h"
#include "driver_trace.h"
#include "library.h"

namespace fracstride {

namespace {

#ifdef _WIN32
const char* const kLibrary = "nvcuda.dll";
#else
const char* const kLibrary = "libcuda.so.1";
#endif

// cuGetProcAddress of CUDA 12 (with a status) and of 11.3 to 11.8 (without).
using ProcAddress12 = cu::Result(FS_CUDA_API*)(const char*, void**, int, uint64_t, int*);
using ProcAddress11 = cu::Result(FS_CUDA_API*)(const char*, void**, int, uint64_t);

class Finder {
 public:
  explicit Finder(void* library)
      : library_(library),
        new_(reinterpret_cast<ProcAddress12>(find_symbol(library, "cuGetProcAddress_v2"))),
        old_(reinterpret_cast<ProcAddress11>(find_symbol(library, "cuGetProcAddress"))) {
    const auto version = reinterpret_cast<cu::Result(FS_CUDA_API*)(int*)>(find_symbol(library, "cuDriverGetVersion"));
    // A driver of 11.3 to 11.8 answers for its own version and older ones.
    if (version == nullptr || version(&asked_) != cu::kSuccess || asked_ > cu::kApiVersion) asked_ = cu::kApiVersion;
  }

  // cuGetProcAddress, where there is one, is the driver's own word on what it has.
  void* find(const char* query, const char* symbol) const {
    void* entry = nullptr;
    int status = 0;
    if (new_ != nullptr) return new_(query, &entry, asked_, 0, &status) == cu::kSuccess ? entry : nullptr;
    if (old_ != nullptr) return old_(query, &entry, asked_, 0) == cu::kSuccess ? entry : nullptr;
    return find_symbol(library_, symbol);
  }

 private:
  void* library_;
  ProcAddress12 new_;
  ProcAddress11 old_;
  int asked_ = 0;
};

// The name of the first entry that the library lacks and nothing works without, or null.
const char* find_entries(void* library, cu::Entries& call) {
  const Finder finder(library);
#define FS_FIND(query, symbol, field, parameters) \
  call.field = reinterpret_cast<decltype(call.field)>(finder.find(#query, #symbol));
  FS_DRIVER_ENTRIES(FS_FIND)
  FS_DRIVER_OPTIONAL_ENTRIES(FS_FIND)
#undef FS_FIND
#define FS_LACKS(query, symbol, field, parameters) \
  if (call.field == nullptr) return #symbol;
  FS_DRIVER_ENTRIES(FS_LACKS)
#undef FS_LACKS
  return nullptr;
}

Driver open_driver() {
  Driver driver;
  const char* chosen = std::getenv("FRACSTRIDE_LIBCUDA");
  const char* name = chosen != nullptr && chosen[0] != '\0' ? chosen : kLibrary;
  void* library = open_library(name);
  if (library == nullptr) {
    driver.reason = std::string("the CUDA driver library could not be opened (") + library_problem() +
                    "); install an NVIDIA driver, or set FRACSTRIDE_LIBCUDA to the path of the library";
    return driver;
  }
  if (const char* absent = find_entries(library, driver.call)) {
    driver.reason = std::string(name) + " has no entry " + absent +
                    "; install an NVIDIA driver of version 450 or newer, or correct FRACSTRIDE_LIBCUDA";
    return driver;
  }
  if (traces_calls()) trace_driver(driver.call);
  const cu::Entries& call = driver.call;
  cu::Result result = call.init(0);
  call.driver_get_version(&driver.version);
  if (result == cu::kSuccess) result = call.device_get_count(&driver.devices);
  if (result == cu::kNoDevice || (result == cu::kSuccess && driver.devices == 0)) {
    driver.devices = 0;
    driver.reason =
        std::string(name) +
        " reports no CUDA device; check that nvidia-smi lists one and that CUDA_VISIBLE_DEVICES does not hide it";
  } else if (result != cu::kSuccess) {
    driver.devices = 0;
    driver.reason = std::string("initialising ") + name + " failed with " + driver_error(call, result) +
                    "; check the driver with nvidia-smi";
  }
  return driver;
}

}  // namespace

const Driver& driver() {
  static const Driver* const opened = new Driver(open_driver());
  return *opened;
}

std::string driver_error(const cu::Entries& call, cu::Result result) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (call.get_error_name(result, &name) != cu::kSuccess || name == nullptr)
    return "CUDA error " + std::to_string(result);
  call.get_error_string(result, &text);
  return std::string(name) + (text == nullptr ? "" : std::string(" (") + text + ")");
}

}  // namespace fracstride
