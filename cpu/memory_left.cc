// Free memory as the system reports it; see memory_left.h.

#include "memory_left.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#else
#include <unistd.h>
#endif

namespace fracstride {

namespace {

constexpr uint64_t kUnknown = 1ull << 63;

}  // namespace

#if defined(_WIN32)

uint64_t memory_left() {
  MEMORYSTATUSEX status;
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? std::min(status.ullAvailPageFile, status.ullAvailVirtual) : kUnknown;
}

uint64_t memory_resident() {
  return 0;
}

#elif defined(__APPLE__)

uint64_t memory_left() {
  vm_statistics64_data_t statistics;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const auto result =
      host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&statistics), &count);
  if (result != KERN_SUCCESS) return kUnknown;
  return (uint64_t(statistics.free_count) + statistics.inactive_count + statistics.purgeable_count) *
         vm_kernel_page_size;
}

uint64_t memory_resident() {
  return 0;
}

#else

namespace {

struct File {
  explicit File(const std::string& path) : handle(std::fopen(path.c_str(), "re")) {}
  ~File() {
    if (handle != nullptr) std::fclose(handle);
  }
  FILE* handle;
};

// The number behind `key` in a file of `key number` lines; `none` when there is no such line.
uint64_t keyed_number(const std::string& path, const char* key, uint64_t none) {
  File file(path);
  char line[256];
  const size_t length = std::strlen(key);
  while (file.handle != nullptr && std::fgets(line, sizeof line, file.handle) != nullptr) {
    unsigned long long value = 0;
    if (std::strncmp(line, key, length) == 0 && std::sscanf(line + length, "%llu", &value) == 1) return value;
  }
  return none;
}

// The number that a file holds; `none` for no file, or for a word such as `max`.
uint64_t file_number(const std::string& path, uint64_t none) {
  File file(path);
  unsigned long long value = 0;
  return file.handle != nullptr && std::fscanf(file.handle, "%llu", &value) == 1 ? value : none;
}

// What a control group leaves: its limit less what it uses, file pages that can be dropped not counted.
uint64_t group_left(const std::string& folder, const char* limit_file, const char* usage_file, const char* cache_key) {
  const uint64_t limit = file_number(folder + limit_file, kUnknown);
  if (limit >= kUnknown / 2) return kUnknown;
  const uint64_t usage = file_number(folder + usage_file, 0);
  const uint64_t cache = std::min(keyed_number(folder + "/memory.stat", cache_key, 0), usage);
  return usage - cache >= limit ? 0 : limit - (usage - cache);
}

// The least that this process's groups and their ancestors leave.
uint64_t groups_left() {
  uint64_t left = kUnknown;
  File file("/proc/self/cgroup");
  char line[4096];
  while (file.handle != nullptr && std::fgets(line, sizeof line, file.handle) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    const char* controllers = std::strchr(line, ':');
    const char* path = controllers == nullptr ? nullptr : std::strchr(controllers + 1, ':');
    if (path == nullptr) continue;
    const bool second = controllers[1] == ':';
    if (!second && std::strstr(controllers, "memory") == nullptr) continue;
    const std::string mount = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string group = path + 1;;
         group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'))) {
      while (!group.empty() && group.back() == '/') group.pop_back();
      const std::string folder = mount + (group.empty() || group[0] == '/' ? "" : "/") + group;
      left = std::min(left, second ? group_left(folder, "/memory.max", "/memory.current", "inactive_file ")
                                   : group_left(folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                                "total_inactive_file "));
      if (group.empty()) break;
    }
  }
  return left;
}

}  // namespace

uint64_t memory_left() {
  const uint64_t kilobytes = keyed_number("/proc/meminfo", "MemAvailable:", kUnknown >> 10);
  return std::min(kilobytes << 10, groups_left());
}

uint64_t memory_resident() {
  File file("/proc/self/statm");
  unsigned long long total = 0, resident = 0;
  if (file.handle == nullptr || std::fscanf(file.handle, "%llu %llu", &total, &resident) != 2) return 0;
  return resident * uint64_t(sysconf(_SC_PAGESIZE));
}

#endif

}  // namespace fracstride
