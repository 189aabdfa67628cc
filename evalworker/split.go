package evalworker

import (
	"encoding/binary"
	"fmt"
)

// Windows are stretches of a text, all of the same length in tokens, with their numbers: window i
// of a text is its tokens [i·L, (i+1)·L).
type Windows struct {
	Numbers []int
	Tokens  [][]int32
}

// Len is the number of windows.
func (w Windows) Len() int { return len(w.Numbers) }

// first returns the first n windows, or all if there are fewer.
func (w Windows) first(n int) Windows {
	n = min(n, w.Len())
	return Windows{w.Numbers[:n], w.Tokens[:n]}
}

// encode returns the tokens of all windows as little-endian 32-bit integers, one after the other.
func (w Windows) encode() []byte {
	var b []byte
	for _, tokens := range w.Tokens {
		for _, id := range tokens {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		}
	}
	return b
}

// decodeWindows is the inverse of encode for windows of seqLen tokens with the given numbers.
func decodeWindows(b []byte, numbers []int, seqLen int) (Windows, error) {
	if len(b) != 4*seqLen*len(numbers) {
		return Windows{}, fmt.Errorf("evalworker: %d bytes of tokens, want %d windows of %d tokens", len(b), len(numbers), seqLen)
	}
	w := Windows{Numbers: numbers}
	for range numbers {
		tokens := make([]int32, seqLen)
		for i := range tokens {
			tokens[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
		}
		w.Tokens = append(w.Tokens, tokens)
		b = b[4*seqLen:]
	}
	return w, nil
}

// SplitWindows cuts the tokens of a text into windows of seqLen tokens, numbered from the start; what
// is left at the end is not used. name is the text's name in errors; limit, if not 0, is the most
// windows to use. It fails if there is not a single window.
func SplitWindows(name string, ids []int32, seqLen, limit int) (Windows, error) {
	n := len(ids) / seqLen
	if n == 0 {
		return Windows{}, fmt.Errorf("evalworker: text %s has %d tokens, less than one window of --seq-len %d", name, len(ids), seqLen)
	}
	if limit > 0 {
		n = min(n, limit)
	}
	var w Windows
	for i := range n {
		w.Numbers = append(w.Numbers, i)
		w.Tokens = append(w.Tokens, ids[i*seqLen:(i+1)*seqLen])
	}
	return w, nil
}

// Split is how the windows of a text are shared out: no window serves two purposes.
type Split struct {
	Calibration Windows // Hessians are summed over these
	Search      Windows // candidates are scored on these
	HeldOut     Windows // final numbers come from these, which the search never saw
}

// minHeldOut is the fewest held-out windows: a standard error needs two.
const minHeldOut = 2

// SplitText shares out windows: of every four the first two calibrate, the third is for the search and
// the fourth is held out. It fails if there are too few for two held-out windows.
func SplitText(name string, all Windows, seqLen int) (Split, error) {
	if want := 4 * minHeldOut; all.Len() < want {
		return Split{}, fmt.Errorf("evalworker: text %s gives %d windows (%d tokens) of --seq-len %d; calibration, search and held-out text need %d windows (%d tokens): give a longer text or a smaller --seq-len",
			name, all.Len(), all.Len()*seqLen, seqLen, want, want*seqLen)
	}
	var s Split
	for i, number := range all.Numbers {
		part := &s.Calibration
		switch number % 4 {
		case 2:
			part = &s.Search
		case 3:
			part = &s.HeldOut
		}
		part.Numbers = append(part.Numbers, number)
		part.Tokens = append(part.Tokens, all.Tokens[i])
	}
	return s, nil
}
