//go:build !noasm

package kernel

import "syscall"

// permitAMX asks Linux for the state of AMX's tiles, 8 KB a thread, which a process has only on demand: ARCH_REQ_XCOMP_PERM of arch_prctl(2)
// for XFEATURE_XTILEDATA, since Linux 5.16 (Documentation/arch/x86/xstate.rst). It holds for all threads. An old kernel refuses,
// as does a container or a sandbox that filters the call.
func permitAMX() bool {
	const (
		archReqXcompPerm  = 0x1023
		xfeatureXtileData = 18
	)
	_, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archReqXcompPerm, xfeatureXtileData, 0)
	return errno == 0
}
