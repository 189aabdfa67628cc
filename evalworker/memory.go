package evalworker

import (
	"os"
	"strconv"
	"strings"
)

// DefaultCache is a quarter of the machine's memory, in bytes.
func DefaultCache() int64 { return MachineMemory() / 4 }

// MachineMemory is the memory, in bytes, that the machine has or that a container leaves of it; where the operating
// system does not say it in a file, 8 GiB are taken for granted.
func MachineMemory() int64 {
	memory := int64(8 << 30)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, ok := meminfoTotal(string(data)); ok {
			memory = kib << 10
		}
	}
	// The limit of the control group that a container runs in: version 2, then version 1.
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && limit > 0 {
			memory = min(memory, limit)
		}
	}
	return memory
}

// meminfoTotal is the figure of MemTotal in /proc/meminfo, in KiB.
func meminfoTotal(meminfo string) (kib int64, ok bool) {
	for line := range strings.Lines(meminfo) {
		rest, found := strings.CutPrefix(line, "MemTotal:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kib, err == nil
	}
	return 0, false
}
