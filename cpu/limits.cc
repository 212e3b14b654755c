// How many CPUs this process may use: sched_getaffinity, then the CPU quotas of its control groups. A quota of 150 %
// counts as two CPUs: the second is worth having for half of the time.
#include "limits.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace fracstride {
namespace {

int affinity_cpus() {
#ifdef __linux__
  cpu_set_t* set = CPU_ALLOC(8192);
  if (set != nullptr) {
    const size_t bytes = CPU_ALLOC_SIZE(8192);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// CPUs that "<quota> <period>" (cpu.max, or the two files of version 1) allows; a huge number when there is no limit.
double quota_of(const std::string& quota, const std::string& period) {
  char* end = nullptr;
  const double q = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || q <= 0) return 1e9;
  const double p = std::strtod(period.c_str(), nullptr);
  return p > 0 ? q / p : 1e9;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double quota_v2(const std::string& folder) {
  std::istringstream words(first_line(folder + "/cpu.max"));
  std::string quota, period;
  words >> quota >> period;
  return quota_of(quota, period);
}

double quota_v1(const std::string& folder) {
  return quota_of(first_line(folder + "/cpu.cfs_quota_us"), first_line(folder + "/cpu.cfs_period_us"));
}

// The least quota of `path` and the groups above it; inside a container the path may not exist below the mount.
double least_quota(const std::string& mount, std::string path, double (*quota)(const std::string&)) {
  double least = quota(mount);
  while (path.size() > 1) {
    least = std::min(least, quota(mount + path));
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return least;
}

}  // namespace

double cgroup_cpus(const std::string& root) {
  double least = 1e9;
  const std::string mount = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",",
                      path = line.substr(second + 1);
    if (controllers == ",,") least = std::min(least, least_quota(mount, path, quota_v2));
    if (controllers.find(",cpu,") != std::string::npos) {
      least = std::min(least, least_quota(mount + "/cpu", path, quota_v1));
    }
  }
  return least;
}

int usable_cpus() {
  const double cpus = std::min<double>(affinity_cpus(), std::ceil(cgroup_cpus()));
  return std::max(1, static_cast<int>(cpus));
}

}  // namespace fracstride
