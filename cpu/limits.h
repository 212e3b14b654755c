// How many CPUs this process may use.
#pragma once

#include <string>

namespace fracstride {

// CPUs that the control groups of this process allow (cpu.max, or the quota files of version 1), a huge number when
// there is no limit. `root` stands before /proc and /sys.
double cgroup_cpus(const std::string& root = "");

// The smaller of the affinity mask and the container's CPU quota (cgroup v1 and v2), at least 1.
int usable_cpus();

}  // namespace fracstride
