// How many CPUs this process may use.
#pragma once

namespace fracstride {

// The smaller of the affinity mask and the container's CPU quota (cgroup v1 and v2), at least 1.
int usable_cpus();

}  // namespace fracstride
