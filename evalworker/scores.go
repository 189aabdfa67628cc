package evalworker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/search"
)

// numericsVersion stands for everything in this program that decides a score and is not told apart
// by name. It changes when exact numerics give other bits, so that old scores are not taken for new ones.
const numericsVersion = 2

// Score is an evaluation of a candidate: the content of a file in scores/. The fields above the line
// follow from what the digest stands for, bit for bit, wherever they are computed.
type Score struct {
	Digest  string    `json:"digest"`           // see [run.scoreDigest]; also the file's name
	Windows []int     `json:"windows"`          // numbers of the windows in their text
	Tokens  []int     `json:"tokens,omitempty"` // scored positions of each window
	KL      []float64 `json:"kl,omitempty"`     // nats, summed over the positions of each window
	NLL     []float64 `json:"nll,omitempty"`    // nats, summed over the positions of each window
	Failed  string    `json:"failed,omitempty"` // why there are no numbers

	Seconds float64   `json:"seconds"` // of evaluation, without loading and switching
	Host    string    `json:"host"`
	Kernel  string    `json:"kernel"` // variant that computed it, which fast numerics depend on
	When    time.Time `json:"when"`
}

// scoreDigest names the score of a candidate on windows of a part of the text: a SHA-256 over all that
// decides it.
func (r *run) scoreDigest(c search.Candidate, w Windows) string {
	bank := ""
	phenotype := "dense"
	if len(c) > 0 {
		phenotype, bank = r.space.Phenotype(c), r.prepared.bankID()
	}
	about := encodeJSON(struct {
		Version   int    `json:"version"`
		Numerics  string `json:"numerics"`
		Model     string `json:"model"`
		Bank      string `json:"bank"`
		Phenotype string `json:"phenotype"`
		SeqLen    int    `json:"seq_len"`
	}{numericsVersion, r.prepared.Numerics, r.prepared.Model, bank, phenotype, r.prepared.SeqLen})
	return digest(about, w.encode())
}

// readScore returns the score of a digest; ok is false if it has none yet.
func (r *run) readScore(digest string) (s Score, ok bool, err error) {
	name := filepath.Join(r.folder, scoresDir, digest+".json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("evalworker: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, false, mark(ErrDamaged, fmt.Errorf("evalworker: %s: %w", name, err))
	}
	if n := len(s.Windows); s.Digest != digest || s.Failed == "" && (len(s.Tokens) != n || len(s.KL) != n || len(s.NLL) != n || n == 0) {
		return s, false, mark(ErrDamaged, fmt.Errorf("evalworker: %s is not the score that its name says", name))
	}
	return s, true, nil
}

// writeScore stores a score. Another worker's score of the same digest, which has the same numbers, is
// replaced.
func (r *run) writeScore(s Score) error {
	if err := durable.Write(filepath.Join(r.folder, scoresDir, s.Digest+".json"), encodeJSON(s)); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	os.Remove(r.partialFile(s.Digest)) // of no use any more; if it stays, no harm is done
	return nil
}

// partialFile holds what there is of a score that is not complete: its first windows.
func (r *run) partialFile(digest string) string {
	return filepath.Join(r.folder, scoresDir, digest+".part")
}

// writePartial stores a score that is not complete.
func (r *run) writePartial(s Score) error {
	if err := durable.Write(r.partialFile(s.Digest), encodeJSON(s)); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	return nil
}

// begun is the score of a digest on windows as far as it was taken, which may be not at all. What cannot be read is
// taken again.
func (r *run) begun(digest string, windows []int) Score {
	fresh := Score{Digest: digest, Windows: windows}
	data, err := os.ReadFile(r.partialFile(digest))
	if err != nil {
		return fresh
	}
	var s Score
	if err := json.Unmarshal(data, &s); err != nil || s.Digest != digest || !slices.Equal(s.Windows, windows) {
		return fresh
	}
	if n := len(s.Tokens); s.Failed != "" || n > len(windows) || len(s.KL) != n || len(s.NLL) != n {
		return fresh
	}
	return s
}

// Mean is a mean over tokens with its standard error, which takes windows as independent.
type Mean struct {
	Value float64 `json:"value"`  // nats a token
	Error float64 `json:"stderr"` // standard error
}

// meanOf is the mean of per-window sums over per-window counts of tokens, and its standard error: that
// of a ratio estimator, which for windows of one length is the standard deviation of the windows' means
// over the square root of their number. It is 0 for a single window.
func meanOf(sums []float64, tokens []int) Mean {
	var total, count float64
	for i, s := range sums {
		total += s
		count += float64(tokens[i])
	}
	m := Mean{Value: total / count}
	if len(sums) < 2 {
		return m
	}
	var squares float64
	for i, s := range sums {
		d := s - float64(m.Value*float64(tokens[i]))
		squares += float64(d * d)
	}
	n := float64(len(sums))
	m.Error = math.Sqrt(squares*n/(n-1)) / count
	return m
}

// total is the number of scored positions.
func (s Score) total() int64 {
	var n int64
	for _, t := range s.Tokens {
		n += int64(t)
	}
	return n
}

// kl and nll are the means over the score's windows.
func (s Score) kl() Mean  { return meanOf(s.KL, s.Tokens) }
func (s Score) nll() Mean { return meanOf(s.NLL, s.Tokens) }

// difference is the mean of a minus b, two sums over the same windows: their paired difference.
func difference(a, b []float64, tokens []int) Mean {
	d := make([]float64, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return meanOf(d, tokens)
}
