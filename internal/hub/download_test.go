package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/hub/hubtest"
)

// cut makes the content server end the connection of each of the first n requests after some bytes.
func cut(n int32, after int) hubtest.Hook {
	var left atomic.Int32
	left.Store(n)
	return func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery == "" || left.Add(-1) < 0 {
			return false
		}
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		if from > 0 {
			rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(weights)-1, len(weights)))
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(weights)-from))
		if from > 0 {
			rw.WriteHeader(http.StatusPartialContent)
		}
		fmt.Fprint(rw, weights[from:from+after])
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// partial is where the weights lie until they are whole.
func (w *world) partial() string {
	return w.repo("blobs", hubtest.Tag("model.safetensors", weights)+".incomplete")
}

// ranges lists the ranges of the weights that were asked for.
func (w *world) ranges() []string {
	var list []string
	for _, r := range w.Requests() {
		if r.Content {
			list = append(list, r.Range)
		}
	}
	return list
}

func TestCutConnection(t *testing.T) {
	w, _ := newWorld(t)
	w.SetHook(cut(7, 10_000)) // more often than failures in a row are borne: each brings something
	m := w.fetch(t, "hf:o/n")
	if got := read(t, filepath.Join(m.Path, "model.safetensors")); got != weights {
		t.Errorf("%d bytes, not those of the hub", len(got))
	}
	ranges := w.ranges()
	if len(ranges) != 8 || ranges[0] != "" || ranges[1] != "bytes=10000-" || ranges[7] != "bytes=70000-" {
		t.Errorf("asked for ranges %q", ranges)
	}
	if _, err := os.Stat(w.partial()); err == nil {
		t.Error("a partial file is left")
	}
}

// Half a file is said, kept and gone on with by the next call.
func TestHalfFile(t *testing.T) {
	w, commit := newWorld(t)
	once := cut(1, 50_000)
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
		if once(rw, r); r.URL.RawQuery == "" {
			return false
		}
		panic(http.ErrAbortHandler)
	})
	_, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), nil)
	wantError(t, err, false, "model.safetensors", "cut", "tried 5 times")
	if got := read(t, w.partial()); got != weights[:50_000] {
		t.Errorf("kept %d bytes", len(got))
	}
	if _, err := os.Stat(w.repo("snapshots", commit, "model.safetensors")); err == nil {
		t.Error("a partial file has the final name")
	}
	w.SetHook(nil)
	w.Requests()
	first := int64(-1)
	m, err := w.another().Fetch(t.Context(), parse(t, "hf:o/n"), func(p Progress) {
		if p.File == "model.safetensors" && p.Done > 0 && first < 0 {
			first = p.Done
		}
	})
	if err != nil || read(t, filepath.Join(m.Path, "model.safetensors")) != weights {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := w.ranges(); len(got) != 1 || got[0] != "bytes=50000-" {
		t.Errorf("asked for ranges %q", got)
	}
	if first <= 50_000 {
		t.Errorf("progress began at %d", first)
	}
}

func TestInterruptedDownload(t *testing.T) {
	w, _ := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery == "" {
			return false
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(weights)))
		fmt.Fprint(rw, weights[:150_000])
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	_, err := w.Fetch(ctx, parse(t, "hf:o/n"), func(p Progress) {
		if p.File == "model.safetensors" && p.Done > 100_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	kept := len(read(t, w.partial()))
	if kept == 0 || kept >= len(weights) {
		t.Fatalf("kept %d bytes", kept)
	}
	w.SetHook(nil)
	w.Requests()
	w.fetch(t, "hf:o/n")
	if got := w.ranges(); len(got) != 1 || got[0] != fmt.Sprintf("bytes=%d-", kept) {
		t.Errorf("asked for ranges %q, kept %d", got, kept)
	}
}

// What a partial file holds, and how a server answers to a range, is not trusted.
func TestOddParts(t *testing.T) {
	wrong := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name, partial string
		hook          func(w http.ResponseWriter, r *http.Request) bool
		requests      int
	}{
		{"whole", weights, nil, 0},
		{"wrong bytes", wrong, nil, 2},
		{"too long", weights + "x", nil, 1},
		{"as long but wrong", strings.Repeat("x", len(weights)), nil, 1},
		{"no ranges", weights[:1000], func(w http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("Range")
			return false
		}, 1},
		{"another range", weights[:1000], func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=500-")
			}
			return false
		}, 2},
		{"no such range", weights[:1000], func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) // as the hub's answer, before any content is asked for
				return true
			}
			return false
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := newWorld(t)
			w.SetHook(tt.hook)
			write(t, w.partial(), tt.partial)
			m := w.fetch(t, "hf:o/n")
			if got := read(t, filepath.Join(m.Path, "model.safetensors")); got != weights {
				t.Errorf("%d bytes, not those of the hub", len(got))
			}
			if got := w.ranges(); len(got) != tt.requests {
				t.Errorf("asked for ranges %q, want %d requests", got, tt.requests)
			}
		})
	}
}

func TestCorrupted(t *testing.T) {
	for _, tt := range []struct {
		name, file, body string
		permanent        bool
		want             []string
	}{
		{"large file", "model.safetensors", "X" + weights[1:], false, []string{"model.safetensors", "hash", "removed"}},
		{"small file", "config.json", `{"model_type":"llamb"}`, false, []string{"config.json", "hash", "removed"}},
		{"too long", "model.safetensors", weights + "x", false, []string{"model.safetensors", "more than"}},
		{"too short", "model.safetensors", weights[1:], false, []string{"model.safetensors", "cut after 299999 of 300000 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, commit := newWorld(t)
			w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, "/"+tt.file) || (tt.file == "model.safetensors" && r.URL.RawQuery == "") {
					return false
				}
				fmt.Fprint(rw, tt.body)
				return true
			})
			_, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), nil)
			wantError(t, err, tt.permanent, tt.want...)
			if _, err := os.Lstat(w.repo("snapshots", commit, tt.file)); err == nil {
				t.Error("it has its final name")
			}
			blob := w.repo("blobs", hubtest.Tag(tt.file, smallModel()[tt.file]))
			if _, err := os.Stat(blob); err == nil {
				t.Error("its blob is there")
			}
			if info, err := os.Stat(blob + ".incomplete"); err == nil && info.Size() >= int64(len(smallModel()[tt.file])) {
				t.Errorf("%d bytes of it are left", info.Size())
			}
			w.SetHook(nil)
			w.fetch(t, "hf:o/n")
		})
	}
}

// Of a content that a mirror names in its own way the length is checked.
func TestOtherTags(t *testing.T) {
	w, _ := newWorld(t)
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == "HEAD" && strings.HasSuffix(r.URL.Path, "/config.json") {
			rw.Header().Set("ETag", `W/"5f3c-a1"`)
			rw.Header().Set("Content-Length", fmt.Sprint(len(smallModel()["config.json"])))
			return true
		}
		return false
	})
	w.fetch(t, "hf:o/n")
	if got := read(t, w.repo("blobs", "5f3c-a1")); got != smallModel()["config.json"] {
		t.Errorf("it holds %q", got)
	}
}

func TestStalledServer(t *testing.T) {
	w, _ := newWorld(t)
	w.stall = 50 * time.Millisecond
	done := make(chan struct{})
	defer close(done)
	var once sync.Once
	w.SetHook(func(rw http.ResponseWriter, r *http.Request) (took bool) {
		if r.URL.RawQuery == "" {
			return false
		}
		once.Do(func() {
			rw.Header().Set("Content-Length", fmt.Sprint(len(weights)))
			fmt.Fprint(rw, weights[:1000])
			rw.(http.Flusher).Flush()
			select {
			case <-done:
			case <-r.Context().Done():
			}
			took = true
		})
		return took
	})
	w.fetch(t, "hf:o/n")
	if got := w.ranges(); len(got) != 2 || got[1] != "bytes=1000-" {
		t.Errorf("asked for ranges %q", got)
	}
}

// Of several fetches at once one gets each file.
func TestConcurrentFetches(t *testing.T) {
	w, commit := newWorld(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if m, err := w.another().Fetch(t.Context(), parse(t, "hf:o/n"), nil); err != nil || m.Ref.Revision != commit {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
	wg.Wait()
	gets := map[string]int{}
	for _, r := range w.Requests() {
		if r.Method == "GET" && (r.Content || strings.HasSuffix(r.Path, ".json")) {
			gets[filepath.Base(r.Path)]++
		}
	}
	for file, n := range gets {
		if n != 1 {
			t.Errorf("%s was fetched %d times", file, n)
		}
	}
	if len(gets) != 5 {
		t.Errorf("fetched %v", gets)
	}
}

// A fetch waits for the process that has the lock, and says so.
func TestLockedBlob(t *testing.T) {
	w, _ := newWorld(t)
	path := filepath.Join(w.home, "hub", ".locks", "models--o--n", hubtest.Tag("model.safetensors", weights)+".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	if _, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), func(p Progress) {
		if strings.Contains(p.Note, "another process") {
			once.Do(func() { // which is done now
				write(t, w.repo("blobs", hubtest.Tag("model.safetensors", weights)), weights)
				unlock()
			})
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := w.gets("model.safetensors"); n != 0 {
		t.Errorf("the weights were fetched %d times", n)
	}
}

func TestDiskSpace(t *testing.T) {
	w, _ := newWorld(t)
	w.free = func(string) (int64, bool) { return 250_000, true }
	_, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), nil)
	wantError(t, err, false, "needs 300000 bytes", "has 250000 bytes free", "HF_HUB_CACHE")
	if n := w.gets("model.safetensors"); n != 0 {
		t.Errorf("the weights were asked for %d times", n)
	}
	// What is there already does not count.
	write(t, w.partial(), weights[:100_000])
	w.fetch(t, "hf:o/n")
	if n, ok := freeBytes(t.TempDir()); ok != (runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "freebsd" || runtime.GOOS == "windows") || ok && n <= 0 {
		t.Errorf("free bytes: %d, %t", n, ok)
	}
}

func TestFullDisk(t *testing.T) {
	w, commit := newWorld(t)
	room := 120_000
	w.write = func(f *os.File, data []byte) (int, error) {
		n, err := f.Write(data[:min(len(data), room)])
		if room -= n; err == nil && n < len(data) {
			err = &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return n, err
	}
	_, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), nil)
	wantError(t, err, false, "model.safetensors", "disk of", "is full", "300000 bytes")
	if _, err := os.Lstat(w.repo("snapshots", commit, "model.safetensors")); err == nil {
		t.Error("it has its final name")
	}
	if len(w.slept) > 0 {
		t.Errorf("it tried again, after %v", w.slept)
	}
	kept := len(read(t, w.partial()))
	w.write = (*os.File).Write
	w.Requests()
	w.fetch(t, "hf:o/n")
	if got := w.ranges(); len(got) != 1 || got[0] != fmt.Sprintf("bytes=%d-", kept) {
		t.Errorf("asked for ranges %q, kept %d", got, kept)
	}
}

// A crash at any step of the last ones leaves nothing partial under the final name.
func TestFaults(t *testing.T) {
	for _, at := range []string{"sync", "rename", "syncdir"} {
		w, commit := newWorld(t)
		durable.Fault = func(step, path string) error {
			if step == at && strings.Contains(path, "blobs") {
				return errors.New("the power went")
			}
			return nil
		}
		_, err := w.Fetch(t.Context(), parse(t, "hf:o/n"), nil)
		durable.Fault = nil
		wantError(t, err, false, "config.json", "the power went")
		if got, err := os.ReadFile(w.repo("snapshots", commit, "config.json")); err == nil {
			t.Errorf("%s: config.json is there with %q", at, got)
		}
		w.fetch(t, "hf:o/n")
	}
}
