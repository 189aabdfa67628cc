package search

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Candidate is one level for each unit of a space: the index of the level in Unit.Levels, in the
// order of Space.Units. In JSON it is a string, a character a unit: see [Candidate.String].
type Candidate []int

// digits write a level below 62; a candidate with a higher one is written in decimal.
const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// String writes a candidate compactly: a character of 0-9a-zA-Z a unit, or, where a level is
// above 61, a full stop and a decimal number a unit.
func (c Candidate) String() string {
	var b strings.Builder
	for _, l := range c {
		if l < 0 || l >= len(digits) {
			b.Reset()
			for _, l := range c {
				b.WriteByte('.')
				b.WriteString(strconv.Itoa(l))
			}
			return b.String()
		}
		b.WriteByte(digits[l])
	}
	return b.String()
}

// MarshalText implements [encoding.TextMarshaler] with [Candidate.String].
func (c Candidate) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what [Candidate.String] writes. Whether the levels exist is for
// [Space.Check] to say.
func (c *Candidate) UnmarshalText(text []byte) error {
	s := string(text)
	if !strings.HasPrefix(s, ".") {
		if len(s) > maxUnits {
			return fmt.Errorf("search: a candidate of %d units, more than %d", len(s), maxUnits)
		}
		out := make(Candidate, len(s))
		for i := range len(s) {
			out[i] = strings.IndexByte(digits, s[i])
			if out[i] < 0 {
				return fmt.Errorf("search: candidate has %q for unit %d, want one of 0-9a-zA-Z", s[i], i)
			}
		}
		*c = out
		return nil
	}
	if n := strings.Count(s, "."); n > maxUnits {
		return fmt.Errorf("search: a candidate of %d units, more than %d", n, maxUnits)
	}
	parts := strings.Split(s[1:], ".")
	out := make(Candidate, len(parts))
	for i, p := range parts {
		l, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return fmt.Errorf("search: candidate has %.20q for unit %d, want a level", p, i)
		}
		out[i] = int(l)
	}
	*c = out
	return nil
}

// Clone returns a copy.
func (c Candidate) Clone() Candidate { return slices.Clone(c) }

// Equal says whether both take the same levels.
func (c Candidate) Equal(d Candidate) bool { return slices.Equal(c, d) }

// Check says whether c takes a level of s for every unit of s.
func (s *Space) Check(c Candidate) error {
	if len(c) != len(s.Units) {
		return fmt.Errorf("search: a candidate of %d units in a space of %d", len(c), len(s.Units))
	}
	for i, l := range c {
		if l < 0 || l >= len(s.Units[i].Levels) {
			return fmt.Errorf("search: a candidate takes level %d of unit %s, which has %d", l, s.Units[i].Name, len(s.Units[i].Levels))
		}
	}
	return nil
}

// Bytes is the stored size of the whole model as c has it: its units and FixedBytes.
func (s *Space) Bytes(c Candidate) int64 {
	n := s.FixedBytes
	for i, l := range c {
		n += s.Units[i].Levels[l].Bytes
	}
	return n
}

// Cost is the sum of the costs of c's levels; see [Level].
func (s *Space) Cost(c Candidate) int64 {
	var n int64
	for i, l := range c {
		n += s.Units[i].Levels[l].Cost
	}
	return n
}

// BitsPerWeight is the stored bits of c's units, scales and masks included, over their weights.
// What is outside the units does not count.
func (s *Space) BitsPerWeight(c Candidate) float64 {
	return 8 * float64(s.Bytes(c)-s.FixedBytes) / float64(s.Params())
}

// Config lists c as `unit: level` pairs in the order of the space, dense units included. Of a unit of several modules each
// has a pair.
func (s *Space) Config(c Candidate) [][2]string {
	lines := make([][2]string, 0, len(c))
	for i, l := range c {
		for _, part := range s.Units[i].Parts() {
			lines = append(lines, [2]string{part, s.Units[i].Levels[l].Name})
		}
	}
	return lines
}

// WriteConfig writes c as a config file: a line for each pair of [Space.Config].
func (s *Space) WriteConfig(w io.Writer, c Candidate) error {
	var b strings.Builder
	for _, l := range s.Config(c) {
		b.WriteString(l[0])
		b.WriteString(": ")
		b.WriteString(l[1])
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Phenotype is the SHA-256, in hexadecimal, of what c makes of the model: the units that are not
// dense, sorted by name, with their levels. Candidates of one phenotype are the same model, in
// whichever space they were found.
func (s *Space) Phenotype(c Candidate) string {
	lines := make([]string, 0, len(c))
	for _, l := range s.Config(c) {
		if l[1] != LevelDense {
			lines = append(lines, l[0]+": "+l[1]+"\n")
		}
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		io.WriteString(h, l)
	}
	return hex.EncodeToString(h.Sum(nil))
}
