package search

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kinds of targets.
const (
	TargetSparsity = "sparsity" // mean fraction of the units' weights that are zero
	TargetBits     = "bpw"      // stored bits per weight of the units, scales and masks included
	TargetDrop     = "drop"     // fraction of the attention and of the MLP sub-blocks that is removed
	TargetSize     = "size"     // stored bytes of the whole model
)

// Target is the size that every candidate of a search keeps to. The zero Target is none: the whole
// front is searched. In JSON it is the string that [ParseTarget] reads.
type Target struct {
	Kind  string  // TargetSparsity, TargetBits, TargetDrop or TargetSize
	Value float64 // fraction, bits a weight, fraction, bytes
}

// sizeUnits are the suffixes of a size, longest first where one ends another.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// ParseTarget reads sparsity=0.5, bpw=3, drop=0.25 or size=90MB (kB, MB, GB, KiB, MiB, GiB or plain
// bytes). The empty string is no target.
func ParseTarget(s string) (Target, error) {
	if s == "" {
		return Target{}, nil
	}
	kind, value, ok := strings.Cut(s, "=")
	if !ok {
		return Target{}, fmt.Errorf("search: target %q, want one like sparsity=0.5, bpw=3, drop=0.25 or size=90MB", s)
	}
	t := Target{Kind: kind}
	scale, low, high := 1.0, 0.0, 1.0
	switch kind {
	case TargetSparsity, TargetDrop:
	case TargetBits:
		high = 64
	case TargetSize:
		value, scale = cutUnit(value)
		low, high = 1, 1<<60
	default:
		return Target{}, fmt.Errorf("search: target %q is of unknown kind %q, want sparsity, bpw, drop or size", s, kind)
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return Target{}, fmt.Errorf("search: target %q: %q is not a number", s, value)
	}
	t.Value = v * scale
	if !(t.Value >= low && t.Value <= high) {
		return Target{}, fmt.Errorf("search: target %q is not between %g and %g", s, low, high)
	}
	return t, nil
}

// cutUnit takes the unit off a size.
func cutUnit(size string) (number string, bytes float64) {
	for _, u := range sizeUnits { // the last is empty
		if rest, ok := strings.CutSuffix(size, u.suffix); ok {
			return strings.TrimSpace(rest), u.bytes
		}
	}
	return size, 1
}

// ParseSize reads a number of bytes, as in size=90MB.
func ParseSize(s string) (int64, error) {
	number, unit := cutUnit(s)
	v, err := strconv.ParseFloat(number, 64)
	if bytes := v * unit; err == nil && bytes >= 0 && bytes <= 1<<60 {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("search: %q is no size, want one like 0, 800MB or 2GiB", s)
}

// String writes t as [ParseTarget] reads it.
func (t Target) String() string {
	if t.Kind == "" {
		return ""
	}
	return t.Kind + "=" + strconv.FormatFloat(t.Value, 'f', -1, 64)
}

// MarshalText implements [encoding.TextMarshaler].
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Target) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTarget(string(text))
	return err
}

// measure is what a target counts, as a number that is larger for larger candidates: stored bytes
// of a level, or the negative of its cost.
type measure bool

const (
	byBytes measure = false
	byCost  measure = true
)

func (m measure) of(l Level) int64 {
	if m == byCost {
		return -l.Cost
	}
	return l.Bytes
}

// conserved is the measure that a switch of levels in s leaves as it is.
func (s *Space) conserved() measure { return measure(s.costed()) }

// total is the measure of all units of a candidate.
func (s *Space) total(m measure, c Candidate) int64 {
	var n int64
	for i, l := range c {
		n += m.of(s.Units[i].Levels[l])
	}
	return n
}

// groups lists the units of each group, groups in the order of their first unit.
func (s *Space) groups() [][]int {
	var out [][]int
	at := map[string]int{}
	for i := range s.Units {
		g, ok := at[s.Units[i].Group]
		if !ok {
			g = len(out)
			at[s.Units[i].Group] = g
			out = append(out, nil)
		}
		out[g] = append(out[g], i)
	}
	return out
}

// slack is how far a level may be above the share of a unit and still count as having it: a weight
// where levels remove whole weights, else next to nothing, for the rounding of shares.
func (s *Space) slack(m measure) float64 {
	if m == byCost && s.Kind == Sparsity {
		return 1
	}
	return 1e-3
}

// goal is a target made concrete on a space.
type goal struct {
	m     measure
	sets  []bound   // every unit is in one
	ideal []float64 // the share of each unit if levels were continuous
}

// bound holds a set of units to a measure.
type bound struct {
	units []int
	aim   int64 // raised to this at most
	limit int64 // never above this, which differs from aim by the rounding of costs to whole weights
}

// Reach says whether candidates of s can meet t, and if not, what range they can.
func (s *Space) Reach(t Target) error {
	_, err := s.goal(t)
	return err
}

func (s *Space) goal(t Target) (goal, error) {
	all := s.units()
	params := float64(s.Params())
	g := goal{ideal: make([]float64, len(s.Units))}
	var aim, slack float64
	var show func(total float64) string // a total in the words of the target
	switch {
	case t.Kind == TargetSparsity && s.Kind == Sparsity:
		if !s.costed() {
			return goal{}, fmt.Errorf("search: target %s: the levels of the space do not say how many weights they remove", t)
		}
		g.m = byCost
		aim = -t.Value * params
		slack = float64(len(s.Units)) / 2
		show = func(total float64) string { return fmt.Sprintf("%.4g", -total/params) }
	case t.Kind == TargetDrop && s.Kind == Drop:
		return s.dropGoal(t)
	case t.Kind == TargetBits:
		aim = t.Value * params / 8
		slack = 1e-6
		show = func(total float64) string { return fmt.Sprintf("%.4g", 8*total/params) }
	case t.Kind == TargetSize:
		aim = t.Value - float64(s.FixedBytes)
		show = func(total float64) string { return fmt.Sprintf("%.0f", total+float64(s.FixedBytes)) }
	default:
		return goal{}, fmt.Errorf("search: target %q is not one for a %s space", t, s.Kind)
	}
	low, high := s.span(g.m, all)
	if aim+slack < low || aim-slack > high {
		from, to := low, high
		if t.Kind == TargetSparsity {
			from, to = high, low
		}
		return goal{}, fmt.Errorf("search: target %s: %w: this space has a %s from %s to %s",
			t, ErrUnreachable, t.Kind, show(from), show(to))
	}
	s.share(g.m, all, aim, g.ideal)
	g.sets = []bound{{units: all, aim: int64(math.Floor(aim + min(slack, 1e-6))), limit: int64(math.Floor(aim + slack))}}
	return g, nil
}

// dropGoal removes the same fraction of every group, rounded to whole sub-blocks, halves up.
func (s *Space) dropGoal(t Target) (goal, error) {
	g := goal{m: byCost, ideal: make([]float64, len(s.Units))}
	var dropped float64
	for _, units := range s.groups() {
		aim := -math.Floor(float64(t.Value*float64(len(units))) + 0.5)
		low, high := s.span(g.m, units)
		if aim < low || aim > high {
			return goal{}, fmt.Errorf("search: target %s: %w: it takes %g of the %d sub-blocks of group %s, of which %g to %g can go",
				t, ErrUnreachable, 0-aim, len(units), s.Units[units[0]].Group, 0-high, 0-low)
		}
		dropped -= aim
		s.share(g.m, units, aim, g.ideal)
		g.sets = append(g.sets, bound{units: units, aim: int64(aim), limit: int64(aim)})
	}
	if dropped == 0 && t.Value > 0 {
		return goal{}, fmt.Errorf("search: target %s: %w: it takes none of the %d sub-blocks", t, ErrUnreachable, len(s.Units))
	}
	return g, nil
}

// span is the smallest and the largest measure that the units can have together.
func (s *Space) span(m measure, units []int) (low, high float64) {
	for _, u := range units {
		levels := s.Units[u].Levels
		low += float64(m.of(levels[len(levels)-1]))
		high += float64(m.of(levels[0]))
	}
	return low, high
}

// share gives each of the units its share of aim: the same measure a weight for all, except for
// those whose levels do not go that far, which take their extreme and leave the rest to the others.
func (s *Space) share(m measure, units []int, aim float64, ideal []float64) {
	weight := func(u int) float64 {
		if s.Kind == Drop && m == byCost {
			return 1
		}
		return float64(s.Units[u].Params)
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, u := range units {
		levels := s.Units[u].Levels
		low = min(low, float64(m.of(levels[len(levels)-1]))/weight(u))
		high = max(high, float64(m.of(levels[0]))/weight(u))
	}
	for range 100 { // halves until the ends meet
		mid := low + float64((high-low)/2)
		var sum float64
		for _, u := range units {
			levels := s.Units[u].Levels
			ideal[u] = min(max(mid*weight(u), float64(m.of(levels[len(levels)-1]))), float64(m.of(levels[0])))
			sum += ideal[u]
		}
		if sum < aim {
			low = mid
		} else {
			high = mid
		}
	}
}
