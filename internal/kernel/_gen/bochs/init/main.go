//go:build linux

// Command init is the only program of the emulated machine: it runs the tests of package kernel, whose names the kernel's command line
// gives as tests=REGEXP, and switches the machine off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

func main() {
	fmt.Println("init:", run())
	time.Sleep(time.Second) // until the serial line has it
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init:", err)
	}
}

func run() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/dev": "devtmpfs"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(kind, dir, kind, 0, ""); err != nil {
			return err
		}
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	args := []string{"-test.v", "-test.timeout=0"}
	for _, field := range strings.Fields(string(line)) {
		if tests, ok := strings.CutPrefix(field, "tests="); ok {
			args = append(args, "-test.run="+tests)
		}
	}
	cmd := exec.Command("/kernel.test", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
