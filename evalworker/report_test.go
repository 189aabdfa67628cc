package evalworker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/workflows"
)

// TestReport holds the numbers of a report to the scores that they come from.
func TestReport(t *testing.T) {
	model := tiny(t)
	folder := newFolder(t, model, func(j *workflows.Job) { j.Target = "" })
	res := runLocal(t, folder, Options{})
	f := decodeFront(t, folder)
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Points) < 2 || res.Points != len(f.Points) || !slices.IsSortedFunc(f.Points, func(a, b Point) int { return compareCompressed(a.Compressed, b.Compressed) }) {
		t.Fatalf("points %+v", f.Points)
	}
	if !(f.Hypervolume > 0 && f.Hypervolume < math.Log(256)) {
		t.Errorf("hypervolume %v", f.Hypervolume)
	}
	answers := 0
	for _, p := range f.Points {
		if p.Answer {
			answers++
		}
		config := readFile(t, filepath.Join(folder, p.Config))
		list, err := ParseConfig(p.Config, config, tinyConfig(t, model), nil)
		if err != nil || len(list) != f.Units {
			t.Fatalf("%s: %v", p.Config, err)
		}
		levels := map[string]string{}
		for _, a := range list {
			levels[a.Unit] = a.Level
		}
		size, bits, err := storedBytes(tinyConfig(t, model), levels)
		if err != nil || size != p.Bytes || bits != p.Bits {
			t.Errorf("%s: %d bytes, %v bits a weight; its config file has %d and %v, %v", p.ID, p.Bytes, p.Bits, size, bits, err)
		}
		if p.HeldOut == nil {
			continue
		}
		// The model that the config file says, scored by itself on the same windows.
		text := filepath.Join(folder, "text.txt")
		w := NewWorkbench(Options{Threads: 1})
		one, err := w.Single(context.Background(), SingleInput{Model: model, Text: text, Config: filepath.Join(folder, p.Config), SeqLen: 16}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if one.Bytes != p.Bytes || one.Bits != p.Bits || one.Windows != 40 {
			t.Errorf("%s by itself: %+v", p.ID, one)
		}
		w.Close()
		if p.Uniform == nil || p.Uniform.Bytes > p.Bytes {
			t.Errorf("%s has the uniform candidate %+v", p.ID, p.Uniform)
			continue
		}
		at := slices.IndexFunc(f.Baselines, func(b Baseline) bool { return b.ID == p.Uniform.ID })
		if at < 0 || !slices.Contains(f.Baselines[at].Kinds, roleUniform) {
			t.Errorf("%s: no baseline %s", p.ID, p.Uniform.ID)
			continue
		}
		b := f.Baselines[at]
		if d := b.HeldOut.NLL.Value - p.HeldOut.NLL.Value; math.Abs(d-p.Uniform.NLL.Value) > 1e-12 {
			t.Errorf("%s: gain %v in NLL, the values differ by %v", p.ID, p.Uniform.NLL.Value, d)
		}
		if b.ID != p.ID && p.Uniform.NLL.Error >= b.HeldOut.NLL.Error {
			t.Errorf("%s: the paired error %v is not below the error %v of a value", p.ID, p.Uniform.NLL.Error, b.HeldOut.NLL.Error)
		}
	}
	if answers == 0 {
		t.Error("the search has no answer among the points")
	}
	lines := bufio.NewScanner(bytes.NewReader(readFile(t, filepath.Join(folder, evaluationsFile))))
	tokens, n := int64(0), 0
	for ; lines.Scan(); n++ {
		var e evaluation
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		tokens += int64(16 * len(e.Windows))
		if e.Tokens != int64(15*len(e.Windows)) || e.Bytes != r.space.Bytes(e.Candidate) || e.KL == nil {
			t.Errorf("line %d: %+v", n+1, e)
		}
	}
	if n != f.Candidates || tokens != f.Tokens {
		t.Errorf("%d lines of %d tokens; the front says %d and %d", n, tokens, f.Candidates, f.Tokens)
	}
	for _, word := range []string{folder, model, "second", "host", "time"} {
		if strings.Contains(string(readFile(t, filepath.Join(folder, frontFile))), word) {
			t.Errorf("front.json holds %q", word)
		}
	}
}

// TestPartialReport holds that a report can be made of a run that was cut off anywhere.
func TestPartialReport(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	runLocal(t, folder, Options{})
	whole := decodeFront(t, folder)
	w := NewWorkbench(Options{})
	defer w.Close()
	in := workflows.ReportInput{Folder: folder, Step: -1, Partial: true}
	res, err := w.Report(context.Background(), in, quiet)
	if err != nil || !res.Partial || res.Points != len(whole.Points) {
		t.Fatalf("of a whole run: %+v, %v", res, err)
	}
	if err := os.Remove(filepath.Join(folder, finalFile)); err != nil {
		t.Fatal(err)
	}
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	part, err := r.windows(partSearch)
	if err != nil {
		t.Fatal(err)
	}
	st, err := r.readStage(4, part)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, scoresDir, st.scores[0].Digest+".json")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Report(context.Background(), in, quiet); err != nil {
		t.Fatal(err)
	}
	f := decodeFront(t, folder)
	if f.Steps != 4 || !f.Partial || f.Dense != nil || len(f.Points) == 0 || f.Points[0].HeldOut != nil {
		t.Errorf("of a run that was cut off in step 4: %d steps, %+v", f.Steps, f.Points)
	}
	if _, err := w.Report(context.Background(), workflows.ReportInput{Folder: folder, Step: 5}, quiet); err == nil || !strings.Contains(err.Error(), "step 4 has no score") {
		t.Errorf("a whole report of it: %v", err)
	}
}

func TestReadFront(t *testing.T) {
	folder := t.TempDir()
	if _, err := ReadFront(folder); err == nil || !strings.Contains(err.Error(), "no front.json yet") {
		t.Error(err)
	}
	writeFile(t, filepath.Join(folder, frontFile), []byte(`{"version": 99}`))
	if _, err := ReadFront(folder); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Error(err)
	}
}

// TestSummary holds a payload to a bounded number of points, the answer and those measured on held-out text
// first.
func TestSummary(t *testing.T) {
	f := Front{}
	for i := range 50 {
		p := Point{Compressed: Compressed{ID: fmt.Sprint(100 + i), Bytes: int64(i)}}
		if i == 40 {
			p.Answer = true
		}
		if i == 45 {
			p.HeldOut = &Measured{}
		}
		f.Points = append(f.Points, p)
	}
	s := summary(f, "x")
	has := func(id string) bool {
		return slices.ContainsFunc(s.Front, func(r workflows.FrontRow) bool { return r.ID == id })
	}
	if len(s.Front) != workflows.FrontRows || s.Points != 50 || !has("140") || !has("145") {
		t.Errorf("%d rows of %d points", len(s.Front), s.Points)
	}
}
