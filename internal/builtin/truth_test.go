package builtin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What a document says twice, or what follows from what it said, must be right: otherwise there is nothing to learn.

// eachDocument gives check the lines of every document of a text that starts with the prefix, but the last, which is cut.
func eachDocument(t *testing.T, prefix string, check func(t *testing.T, lines []string)) {
	t.Helper()
	docs := strings.Split(string(Text(11, 300_000)), "\n\n")
	var n int
	for _, d := range docs[:len(docs)-1] {
		if strings.HasPrefix(d, prefix) {
			n++
			check(t, strings.Split(d, "\n"))
		}
	}
	if n < 10 {
		t.Errorf("%d documents start with %q, want at least 10", n, prefix)
	}
}

func TestRecordsRecall(t *testing.T) {
	eachDocument(t, "Record of ", func(t *testing.T, lines []string) {
		values := map[string]string{}
		var asked int
		for _, l := range lines[1:] {
			if key, value, ok := strings.Cut(l, ": "); ok && !strings.Contains(key, " ") {
				values[key] = value
				continue
			}
			rest, question := strings.CutPrefix(l, "What is the ")
			if !question {
				continue
			}
			asked++
			key, answer, _ := strings.Cut(rest, "? ")
			answer, _, _ = strings.Cut(answer, ".")
			if v, ok := values[key]; !ok || title(v) != answer {
				t.Errorf("%q, but the record has %q", l, v)
			}
		}
		if len(values) < 4 {
			t.Errorf("a record of %d values: %q", len(values), lines)
		}
	})
}

func TestSumsAreRight(t *testing.T) {
	eachDocument(t, "Sums.", func(t *testing.T, lines []string) {
		for _, l := range lines[1:] {
			l = strings.TrimSuffix(l, ".")
			if rest, ok := strings.CutPrefix(l, "Count by "); ok {
				by, list, _ := strings.Cut(rest, ": ")
				var numbers []int
				for _, s := range strings.Split(list, ", ") {
					numbers = append(numbers, atoi(t, s))
				}
				for i := range numbers[1:] {
					if numbers[i+1]-numbers[i] != atoi(t, by) {
						t.Errorf("wrong: %s", l)
					}
				}
				continue
			}
			f := strings.Fields(l)
			a, b := atoi(t, f[0]), atoi(t, f[len(f)-1])
			var right bool
			switch op := strings.Join(f[1:len(f)-1], " "); {
			case op == "is":
				right = a == b
			case op == "is less than":
				right = a < b
			case op == "is more than":
				right = a > b
			case f[1] == "+":
				right = a+atoi(t, f[2]) == b
			case f[1] == "-":
				right = a-atoi(t, f[2]) == b
			case f[1] == "*":
				right = a*atoi(t, f[2]) == b
			}
			if !right {
				t.Errorf("wrong: %s", l)
			}
		}
	})
}

func TestProgramsRun(t *testing.T) {
	eachDocument(t, "def ", func(t *testing.T, lines []string) {
		vars := map[string]int{}
		for _, l := range lines[4:] {
			f := strings.Fields(l)
			switch {
			case f[0] == "swap":
				vars[f[1]], vars[f[2]] = vars[f[2]], vars[f[1]]
			case f[0] == "show":
				if vars[f[1]] != atoi(t, f[3]) {
					t.Errorf("%s, but it is %d: %q", l, vars[f[1]], lines)
				}
			case f[1] == "+=":
				vars[f[0]] += atoi(t, f[2])
			default:
				v, known := vars[f[2]]
				if !known {
					v = atoi(t, f[2])
				}
				vars[f[0]] = v
			}
		}
	})
}

func TestJournalsAddUp(t *testing.T) {
	eachDocument(t, "Log of ", func(t *testing.T, lines []string) {
		day, left := -1, -1
		for _, l := range lines[1:] {
			var d int
			if _, err := fmt.Sscanf(l, "Day %d,", &d); err != nil || day >= 0 && d != day+1 {
				t.Errorf("after day %d: %s", day, l)
			}
			day = d
			if at := strings.LastIndex(l, "We used "); at >= 0 {
				var used, now int
				var what string
				if _, err := fmt.Sscanf(l[at:], "We used %d %s %d are left.", &used, &what, &now); err != nil {
					t.Fatalf("%s: %v", l, err)
				}
				if now < 0 || left >= 0 && left-used != now {
					t.Errorf("%d less %d is not %d: %s", left, used, now, l)
				}
				left = now
			}
		}
	})
}

func TestGazetteersOrder(t *testing.T) {
	eachDocument(t, "1. ", func(t *testing.T, lines []string) {
		var things []string
		for _, l := range lines[:len(lines)-2] {
			_, rest, _ := strings.Cut(l, ". ")
			thing, _, _ := strings.Cut(rest, ":")
			things = append(things, thing)
		}
		if got, want := lines[len(lines)-2], "In order: "+strings.Join(things, ", ")+"."; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		slices.Reverse(things)
		if got, want := lines[len(lines)-1], "Backwards: "+strings.Join(things, ", ")+"."; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
