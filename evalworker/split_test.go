package evalworker

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	ids := make([]int32, 16*8+5)
	for i := range ids {
		ids[i] = int32(i)
	}
	all, err := SplitWindows("t.txt", ids, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := SplitText("t.txt", all, 8)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  Windows
		want []int
	}{
		{"calibration", s.Calibration, []int{0, 1, 4, 5, 8, 9, 12, 13}},
		{"search", s.Search, []int{2, 6, 10, 14}},
		{"held-out", s.HeldOut, []int{3, 7, 11, 15}},
	} {
		if !slices.Equal(c.got.Numbers, c.want) {
			t.Errorf("%s has windows %v, want %v", c.name, c.got.Numbers, c.want)
		}
		for i, tokens := range c.got.Tokens {
			if len(tokens) != 8 || tokens[0] != int32(8*c.want[i]) {
				t.Errorf("window %d of %s is %v", c.want[i], c.name, tokens)
			}
		}
		back, err := decodeWindows(c.got.encode(), c.want, 8)
		if err != nil || !slices.EqualFunc(back.Tokens, c.got.Tokens, slices.Equal[[]int32]) {
			t.Errorf("%s: %v comes back as %v, %v", c.name, c.got.Tokens, back.Tokens, err)
		}
	}
	if _, err := decodeWindows(make([]byte, 7), []int{0}, 2); err == nil {
		t.Error("7 bytes are no window of 2 tokens")
	}
	if w, err := SplitWindows("t.txt", ids, 8, 3); err != nil || w.Len() != 3 {
		t.Errorf("a limit of 3 gives %d windows, %v", w.Len(), err)
	}
}

func TestSplitTooShort(t *testing.T) {
	if _, err := SplitWindows("short.txt", make([]int32, 7), 8, 0); err == nil || !containsAll(err.Error(), "short.txt", "7 tokens", "--seq-len 8") {
		t.Errorf("less than a window: %v", err)
	}
	all, err := SplitWindows("short.txt", make([]int32, 7*8), 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SplitText("short.txt", all, 8); err == nil || !containsAll(err.Error(), "short.txt", "7 windows", "56 tokens", "8 windows", "--seq-len 8") {
		t.Errorf("seven windows: %v", err)
	}
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
