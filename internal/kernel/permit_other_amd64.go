//go:build amd64 && !linux && !noasm

package kernel

// permitAMX: only Linux is known to hand out the state of AMX's tiles.
func permitAMX() bool { return false }
