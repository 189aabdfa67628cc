package lease

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOneHolderAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, ok := Lookup(dir); ok {
		t.Fatal("found a server where there is no folder")
	}
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Lookup(dir); ok {
		t.Fatal("found a server before it was published")
	}
	if _, err := Acquire(dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second Acquire: %v", err)
	}
	want := Info{Address: "127.0.0.1:7233", UI: "http://127.0.0.1:8233", PID: 42}
	if err := l.Publish(want); err != nil {
		t.Fatal(err)
	}
	if got, ok := Lookup(dir); !ok || got != want {
		t.Fatalf("Lookup: %+v, %v", got, ok)
	}
	_, err = Acquire(dir)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want.Address) || !strings.Contains(err.Error(), "process 42") {
		t.Fatalf("Acquire beside a server: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if _, ok := Lookup(dir); ok {
		t.Fatal("found a server after Release")
	}
	l, err = Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// What a killed process published is not believed, nor is what is no lease at all.
func TestStaleInfo(t *testing.T) {
	for name, content := range map[string]string{
		"stale":     `{"address":"127.0.0.1:1","ui":"","pid":1}`,
		"no JSON":   "garbage",
		"truncated": `{"address":"127.0`,
		"empty":     "",
		"no keys":   "{}",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range []string{lockFile, infoFile} {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if info, ok := Lookup(dir); ok {
				t.Fatalf("believed %+v", info)
			}
			l, err := Acquire(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Release()
			if _, err := os.Stat(filepath.Join(dir, infoFile)); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("the stale file is still there: %v", err)
			}
		})
	}
}

// Clients that look a server up do not keep one from starting.
func TestLookupDoesNotHinderAcquire(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{lockFile, infoFile} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(`{"address":"x"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					Lookup(dir)
				}
			}
		})
	}
	l, err := Acquire(dir)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// TestHolder is not a test: TestKilledHolder runs it as another process that takes the lease.
func TestHolder(t *testing.T) {
	dir := os.Getenv("PARETOPRESS_TEST_LEASE")
	if dir == "" {
		t.Skip("runs as the other process of TestKilledHolder")
	}
	l, err := Acquire(dir)
	if err == nil {
		err = l.Publish(Info{Address: "127.0.0.1:7233", PID: os.Getpid()})
	}
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("\nheld\n")
	os.Stdin.Read(make([]byte, 1)) // until killed
}

func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	cmd.Env = append(os.Environ(), "PARETOPRESS_TEST_LEASE="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for buf := make([]byte, 256); !strings.Contains(said.String(), "\nheld\n"); {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("the other process: %v: %s", err, said.String())
		}
	}
	info, ok := Lookup(dir)
	if !ok || info.PID != cmd.Process.Pid {
		t.Fatalf("Lookup: %+v, %v", info, ok)
	}
	if _, err := Acquire(dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("Acquire beside another process: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, ok := Lookup(dir); ok {
		t.Fatal("found the server of a killed process")
	}
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}
