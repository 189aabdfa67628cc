package bank

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestEveryFlippedBitIsFound flips each byte of a shard in turn.
func TestEveryFlippedBitIsFound(t *testing.T) {
	b := create(t, t.TempDir())
	all := entries(t)[:2]
	put(t, b, unitName, all...)
	path := b.path(unitName)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sound {
		damaged := bytes.Clone(sound)
		damaged[i] ^= 1 << (i % 8)
		if !broken(path, damaged) {
			t.Fatalf("bit %d of byte %d flipped unnoticed", i%8, i)
		}
	}
	for n := range sound {
		if !broken(path, sound[:n]) {
			t.Fatalf("cut to %d of %d bytes unnoticed", n, len(sound))
		}
	}
	if !broken(path, append(bytes.Clone(sound), 0)) {
		t.Fatal("a byte more unnoticed")
	}
	if broken(path, sound) {
		t.Fatal("the sound file counts as broken")
	}
}

// broken tells whether reading all of a shard gives ErrCorrupt.
func broken(path string, data []byte) bool {
	s, err := parseShard(path, data)
	if err != nil {
		return errors.Is(err, ErrCorrupt)
	}
	for i := range s.Levels {
		if _, err := s.weights(&s.Levels[i]); errors.Is(err, ErrCorrupt) {
			return true
		}
	}
	return false
}

func TestEveryFlippedBitOfTheManifestIsFound(t *testing.T) {
	sound, err := header.encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range sound {
		damaged := bytes.Clone(sound)
		damaged[i] ^= 1 << (i % 8)
		if h, err := parseManifest("manifest", damaged); err == nil {
			t.Fatalf("byte %d flipped gives %+v", i, h)
		}
	}
	if h, err := parseManifest("manifest", sound); err != nil || h != header {
		t.Fatalf("got %+v, %v", h, err)
	}
}

// TestDamageIsReportedAndRepaired goes through what a user does.
func TestDamageIsReportedAndRepaired(t *testing.T) {
	all := entries(t)
	for name, damage := range map[string]func([]byte) []byte{
		"payload":   func(d []byte) []byte { d[len(d)-3] ^= 4; return d },
		"header":    func(d []byte) []byte { d[200] ^= 4; return d },
		"truncated": func(d []byte) []byte { return d[:len(d)/2] },
		"empty":     func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := create(t, t.TempDir())
			put(t, b, unitName, all...)
			put(t, b, "lm_head", all...)
			data, err := os.ReadFile(b.path(unitName))
			if err == nil {
				err = os.WriteFile(b.path(unitName), damage(data), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Verify(t.Context(), nil); !errors.Is(err, ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(b.path(unitName))) {
				t.Errorf("Verify: %v", err)
			}
			missing := 0
			for _, e := range all {
				_, err := b.Weights(unitName, e.Level)
				if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("Weights: %v", err)
				}
				if b.Has(unitName, e.Level) != (err == nil) {
					t.Errorf("Has %s: %v", e.Level, err)
				}
				if err != nil {
					missing++
				}
			}
			if missing == 0 || name == "payload" && missing != 1 {
				t.Errorf("%d of %d levels count as absent", missing, len(all))
			}
			same(t, b, "lm_head", all[0].Level, all[0].Weights)
			put(t, b, unitName, all...)
			for _, e := range all {
				same(t, b, unitName, e.Level, e.Weights)
			}
			if err := b.Verify(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKilledWriters kills processes that write to a bank and opens it again.
func TestKilledWriters(t *testing.T) {
	if dir := os.Getenv("PARETOPRESS_TEST_BANK"); dir != "" {
		b := create(t, dir)
		for seed := uint64(0); ; seed++ { // until it is killed
			put(t, b, "shared", Entry{"level" + time.Now().Format("150405.000000000"), sparse(t, 40, 64, seed), nil})
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	have, size := 0, int64(0)
	for round := range 8 {
		var children []*exec.Cmd
		for range 2 {
			c := exec.Command(exe, "-test.run=^TestKilledWriters$")
			c.Env = append(os.Environ(), "PARETOPRESS_TEST_BANK="+dir)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			children = append(children, c)
		}
		// Wait until they write, then for a moment of the next writes.
		for wait := 0; wait < 2000 && sizeOf(filepath.Join(dir, unitsDir, "shared"+shardExt)) == size; wait++ {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(7*round) * time.Millisecond)
		for _, c := range children {
			c.Process.Kill()
			c.Wait()
		}
		size = sizeOf(filepath.Join(dir, unitsDir, "shared"+shardExt))
		b, err := Create(dir, header)
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", ".tmp*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := b.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		units, err := b.List()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, u := range units {
			n += len(u.Levels)
		}
		if n < have {
			t.Fatalf("%d levels after a kill, %d before it", n, have)
		}
		have = n
		b.Close()
	}
	if have == 0 {
		t.Error("the writers never came to write")
	}
	t.Logf("%d levels were written", have)
}

// sizeOf is the size of a file, 0 if there is none.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// FuzzParseShard reads hostile shards whose header has the digest that it should have.
func FuzzParseShard(f *testing.F) {
	b := create(f, f.TempDir())
	put(f, b, unitName, entries(f)...)
	sound, err := os.ReadFile(b.path(unitName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound, false)
	f.Add(sound[:len(sound)-1], true)
	for _, change := range [][2]string{
		{`"data_offsets":[0,`, `"data_offsets":[1,`}, {`"dtype":"F16"`, `"dtype":"U16"`}, {`"shape":[6,`, `"shape":[9,`},
		{`\"rows\":6`, `\"rows\":8`}, {`\"rows\":6`, `\"rows\":0`}, {`grouped-3b-g8`, `grouped-7b-g8`}, {`grouped-3b-g8`, `grouped-3b-g0`},
		{`\"bytes\":`, `\"bytes\":9`}, {`"shape":[`, `"shape":[9999999999,`}, {`magnitude-0.25\"`, `magnitude-0.75\"`},
	} {
		f.Add(bytes.Replace(sound, []byte(change[0]), []byte(change[1]), 1), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, resize bool) {
		data = bytes.Clone(data)
		if resize && len(data) > 8 { // the header ends with the spaces after its last brace
			if end := bytes.LastIndex(data, []byte("]}}")) + 3; end > 8 {
				for end < len(data) && data[end] == ' ' {
					end++
				}
				binary.LittleEndian.PutUint64(data, uint64(end-8))
			}
		}
		if len(data) >= 8 {
			if n := binary.LittleEndian.Uint64(data); n >= uint64(len(headerPrefix)+sumDigits) && n <= uint64(len(data)-8) {
				head := data[8 : 8+n]
				if bytes.HasPrefix(head, []byte(headerPrefix)) {
					copy(head[len(headerPrefix):], headerSum(head))
				}
			}
		}
		s, err := parseShard("shard", data)
		if err != nil {
			return
		}
		for i := range s.Levels {
			w, err := s.weights(&s.Levels[i])
			if err != nil {
				continue
			}
			rows, cols := w.Shape()
			dst := make([]float32, rows*cols)
			w.DecodeRows(0, rows, dst)
		}
	})
}
