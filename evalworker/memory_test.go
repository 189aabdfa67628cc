package evalworker

import "testing"

func TestMeminfo(t *testing.T) {
	for _, c := range []struct {
		text string
		kib  int64
		ok   bool
	}{
		{"MemTotal:       24590236 kB\nMemFree:        18231164 kB\n", 24590236, true},
		{"MemFree:  1 kB\nMemTotal: 2 kB", 2, true},
		{"MemTotal: many kB\n", 0, false},
		{"", 0, false},
	} {
		if kib, ok := meminfoTotal(c.text); kib != c.kib || ok != c.ok {
			t.Errorf("%q: %d, %v", c.text, kib, ok)
		}
	}
	if m := MachineMemory(); m < 64<<20 || m > 1<<50 {
		t.Errorf("this machine has %d bytes of memory", m)
	}
}
