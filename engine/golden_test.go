package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
)

// golden are scores that Hugging Face transformers gave; bench/peers/golden_scores.py
// makes them, and states the rules of the configurations.
type golden struct {
	Provenance map[string]string
	SeqLen     int `json:"seq_len"`
	Windows    []int
	Tokens     string `json:"tokens_sha256"`
	Dropped    []string
	Scores     []struct {
		Name     string
		Weights  string `json:"weights_sha256"`
		NLL, KL  float64
		LogProbs [][]float64 `json:"log_probs"`
	}
}

func TestSmolLM2MatchesTransformers(t *testing.T) {
	ck := smolLM2(t)
	matchTransformers(t, ck, opticks(t), "smollm2_scores.json")
}

// smolLM2 opens the file named by PARETOPRESS_SMOLLM2 and skips the test without it.
func smolLM2(tb testing.TB) *Checkpoint {
	tb.Helper()
	path := os.Getenv("PARETOPRESS_SMOLLM2")
	if path == "" {
		tb.Skip("PARETOPRESS_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	ck, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ck.Close() })
	return ck
}

// opticks is the text that comes with Go.
func opticks(tb testing.TB) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(runtime.GOROOT(), "src/testdata/Isaac.Newton-Opticks.txt"))
	if err != nil {
		tb.Skip(err)
	}
	return text
}

// windowsOf returns windows of a text by their numbers.
func windowsOf(tb testing.TB, ck *Checkpoint, text []byte, seqLen int, numbers ...int) [][]int32 {
	tb.Helper()
	tokenizer, err := ck.Tokenizer()
	if err != nil {
		tb.Fatal(err)
	}
	ids := tokenizer.Encode(text)
	var windows [][]int32
	for _, n := range numbers {
		windows = append(windows, ids[n*seqLen:(n+1)*seqLen])
	}
	return windows
}

// matchTransformers compares the model's scores on a text with those of a golden
// file: NLL and KL within 1e-4, log-probabilities within 2e-3.
func matchTransformers(t *testing.T, ck *Checkpoint, text []byte, file string) {
	t.Helper()
	var want golden
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	windows := windowsOf(t, ck, text, want.SeqLen, want.Windows...)
	hash := sha256.New()
	for _, w := range windows {
		if err := binary.Write(hash, binary.LittleEndian, w); err != nil {
			t.Fatal(err)
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want.Tokens {
		t.Fatalf("other tokens: %s, want %s", got, want.Tokens)
	}
	m, err := Load(ck, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	teacher, err := m.Teach(context.Background(), windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(w []float32) {}
	for i, configuration := range []struct {
		name   string
		change func(w []float32)
		drop   []string
	}{
		{"dense", keep, nil},
		{"dropped", keep, want.Dropped},
		{"pruned", pruneByRule, nil},
		{"quantized", quantizeByRule, nil},
	} {
		reference := want.Scores[i]
		t.Run(configuration.name, func(t *testing.T) {
			if reference.Name != configuration.name {
				t.Fatalf("the reference is that of %s", reference.Name)
			}
			candidate, got := changeAll(t, m, configuration.name, configuration.change)
			if got != reference.Weights {
				t.Fatalf("the golden values are those of other weights, %s and not %s: have %s made again", reference.Weights, got, want.Provenance["script"])
			}
			for _, sub := range configuration.drop {
				candidate[sub] = Level{Name: "drop"}
			}
			scores := score(t, m, windows, teacher, candidate)
			var nll, kl, tokens float64
			for _, s := range scores {
				nll, kl, tokens = nll+s.NLL, kl+s.KL, tokens+float64(s.Tokens)
			}
			nll, kl = nll/tokens, kl/tokens
			worst := 0.0
			for i, w := range windows {
				p, err := m.LogProbs(context.Background(), w, candidate)
				if err != nil {
					t.Fatal(err)
				}
				for j := range p {
					worst = max(worst, math.Abs(float64(p[j])-reference.LogProbs[i][j]))
				}
			}
			t.Logf("NLL %.7f, transformers %.7f (relative %.1e); KL %.7f, %.7f; largest difference of a log-probability %.1e",
				nll, reference.NLL, math.Abs(nll/reference.NLL-1), kl, reference.KL, worst)
			if math.Abs(nll-reference.NLL) > 1e-4*reference.NLL {
				t.Errorf("NLL %v, want %v within 1e-4", nll, reference.NLL)
			}
			if math.Abs(kl-reference.KL) > 1e-4*reference.KL {
				t.Errorf("KL %v, want %v within 1e-4", kl, reference.KL)
			}
			if !(worst < 2e-3) {
				t.Errorf("log-probabilities differ by up to %v, want 2e-3", worst)
			}
		})
	}
}

// TestSmolLM2IsExact is TestExact on real widths. The Go variant scores only the
// short window.
func TestSmolLM2IsExact(t *testing.T) {
	ck := smolLM2(t)
	short := windowsOf(t, ck, opticks(t), 12, 1000)
	long := windowsOf(t, ck, opticks(t), 300, 20, 40)
	defer useVariant(t, kernel.Active())
	var want, wantLong []WindowScore
	for _, variant := range kernel.Variants() {
		useVariant(t, variant)
		for _, threads := range []int{1, 2} {
			m, err := Load(ck, Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := candidateScores(t, m, short, 1); want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Errorf("%s, %d threads: %v, want %v", variant, threads, got, want)
			}
			if variant == "go" {
				break
			}
			if got := candidateScores(t, m, long, threads); wantLong == nil {
				wantLong = got
			} else if !slices.Equal(got, wantLong) {
				t.Errorf("%s, %d threads: %v, want %v", variant, threads, got, wantLong)
			}
		}
	}
}

// changeAll is the candidate of every linear module's changed dense weights, and a
// digest of them.
func changeAll(t *testing.T, m *Model, name string, change func(w []float32)) (Candidate, string) {
	t.Helper()
	hash := sha256.New()
	candidate := Candidate{}
	for _, l := range m.layers {
		for _, module := range l.modules {
			w := plain{module.rows, module.cols, make([]float32, module.rows*module.cols)}
			module.dense.DecodeRows(0, module.rows, w.data)
			change(w.data)
			if err := binary.Write(hash, binary.LittleEndian, w.data); err != nil {
				t.Fatal(err)
			}
			candidate[module.name] = Level{Name: name, Weights: w}
		}
	}
	return candidate, hex.EncodeToString(hash.Sum(nil))
}

// pruneByRule zeroes the 3 of 10 weights of smallest magnitude.
func pruneByRule(w []float32) {
	left := int(0.3 * float64(len(w)))
	abs := func(x float32) uint32 { return math.Float32bits(x) &^ (1 << 31) }
	// Magnitudes order like their bits: count by the upper half, then by the lower
	// half within the one upper half where the cut is, and then go in order.
	var cut uint32
	for _, shift := range []int{16, 0} {
		counts := make([]int, 1<<16)
		for _, x := range w {
			if shift == 16 || abs(x)>>16 == cut>>16 {
				counts[abs(x)>>shift&0xffff]++
			}
		}
		digit := 0
		for left >= counts[digit] {
			left -= counts[digit]
			digit++
		}
		cut |= uint32(digit) << shift
	}
	for i, x := range w {
		switch {
		case abs(x) < cut:
			w[i] = 0
		case abs(x) == cut && left > 0:
			w[i] = 0
			left--
		}
	}
}

// quantizeByRule rounds groups of 64 weights to 4 bits; every row is a whole
// number of groups.
func quantizeByRule(w []float32) {
	const top = 15
	round := func(x float32) float32 { return float32(math.RoundToEven(float64(x))) }
	for group := range slices.Chunk(w, 64) {
		low, high := slices.Min(group), slices.Max(group)
		scale := kernel.DecodeF16(kernel.EncodeF16((high - low) / top))
		if scale == 0 {
			scale = 1
		}
		zero := min(max(round(-low/scale), 0), top)
		for i, x := range group {
			q := min(max(round(x/scale)+zero, 0), top)
			group[i] = (q - zero) * scale
		}
	}
}
