package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "paretopress-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "paretopress")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// smallJob is a search of the builtin model that takes a few seconds and passes through every phase.
var smallJob = []string{"--space", "quant", "--target", "bpw=3.4", "--seq-len", "128", "--max-windows", "48",
	"--calibration-tokens", "2048", "--budget", "60000", "--seed", "7"}

// program is a process of the program that a test started.
type program struct {
	*exec.Cmd
	out, err bytes.Buffer
	done     chan error
}

// start starts the program with its own data folder. It is killed when the test ends.
func start(t *testing.T, data string, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(binary, args...), done: make(chan error, 1)}
	p.Env = append(os.Environ(), "PARETOPRESS_DATA="+data, "PARETOPRESS_HEARTBEAT=3s", "TEMPORAL_ADDRESS=", "TEMPORAL_PROFILE=")
	p.Stdout, p.Stderr = &p.out, &p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

// end waits for the process to end, at most the given time.
func (p *program) end(t *testing.T, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(limit):
		p.Process.Signal(syscall.SIGQUIT)
		<-p.done
		t.Fatalf("%v still runs after %v\n%s", p.Args[1:], limit, tail(p.err.String()))
		return nil
	}
}

// kill ends the process as a power cut would.
func (p *program) kill() {
	p.Process.Kill()
	<-p.done
}

// tail is the end of a long text.
func tail(s string) string {
	return s[max(0, len(s)-4000):]
}

// completed runs the job in one go and returns front.json and the folder.
func completed(t *testing.T, data string, extra ...string) (front []byte, folder string) {
	t.Helper()
	args := append(append([]string{"run", "--json"}, smallJob...), extra...)
	p := start(t, data, args...)
	if err := p.end(t, 3*time.Minute); err != nil {
		t.Fatalf("run: %v\n%s", err, tail(p.err.String()))
	}
	var r struct{ Folder, Front string }
	if err := json.Unmarshal(p.out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, p.out.String())
	}
	b, err := os.ReadFile(r.Front)
	if err != nil {
		t.Fatal(err)
	}
	return b, r.Folder
}

// reference is what an undisturbed run of smallJob writes.
var reference []byte

func referenceFront(t *testing.T) []byte {
	t.Helper()
	if reference == nil {
		reference, _ = completed(t, t.TempDir())
	}
	return reference
}

// kills is how often each test kills; chaos is the seed of when.
const (
	kills = 6
	chaos = 20
)

// TestFrontWithTwoWorkers runs the same job with two evaluations at once.
func TestFrontWithTwoWorkers(t *testing.T) {
	want := referenceFront(t)
	if got, _ := completed(t, t.TempDir(), "--workers", "2"); !bytes.Equal(got, want) {
		t.Errorf("front.json differs with two workers:\n%s\nwith one:\n%s", tail(string(got)), tail(string(want)))
	}
}

// TestKillEverything kills server, workers and client together at many moments and resumes.
func TestKillEverything(t *testing.T) {
	want := referenceFront(t)
	data := t.TempDir()
	out := filepath.Join(data, "run")
	rng := rand.New(rand.NewPCG(chaos, 1))
	args := append([]string{"run", "--json", "--out", out}, smallJob...)
	ended := false
	for range kills {
		p := start(t, data, args...)
		select {
		case err := <-p.done:
			if err != nil {
				t.Fatalf("%v: %v\n%s", args, err, tail(p.err.String()))
			}
			ended = true
		case <-time.After(time.Duration(600+rng.IntN(2600)) * time.Millisecond):
			p.kill()
		}
		if ended {
			break
		}
		if _, err := os.Stat(filepath.Join(out, "job.yaml")); err == nil {
			args = []string{"run", "--json", "--resume", "--out", out}
		}
	}
	if !ended {
		p := start(t, data, args...)
		if err := p.end(t, 3*time.Minute); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, tail(p.err.String()))
		}
	}
	checkFront(t, out, want)
}

// TestKillWorker kills the only worker again and again while server and client stay.
func TestKillWorker(t *testing.T) {
	want := referenceFront(t)
	data := t.TempDir()
	server := serve(t, data)
	worker := start(t, data, "worker")
	out := filepath.Join(data, "run")
	client := start(t, data, append([]string{"run", "--json", "--out", out}, smallJob...)...)
	rng := rand.New(rand.NewPCG(chaos, 2))
	for range kills {
		select {
		case err := <-client.done:
			client.done <- err
		case <-time.After(time.Duration(500+rng.IntN(2000)) * time.Millisecond):
			worker.kill()
			worker = start(t, data, "worker")
		}
	}
	if err := client.end(t, 3*time.Minute); err != nil {
		t.Fatalf("run: %v\n%s\nworker:\n%s", err, tail(client.err.String()), tail(worker.err.String()))
	}
	checkFront(t, out, want)
	server.Process.Signal(os.Interrupt)
	server.end(t, 30*time.Second)
}

// TestKillServer kills the server again and again; worker and client wait for it to come back.
func TestKillServer(t *testing.T) {
	want := referenceFront(t)
	data := t.TempDir()
	server := serve(t, data)
	worker := start(t, data, "worker")
	out := filepath.Join(data, "run")
	client := start(t, data, append([]string{"run", "--json", "--out", out}, smallJob...)...)
	port := server.port(t)
	rng := rand.New(rand.NewPCG(chaos, 3))
	for range 3 { // each time costs the seconds of reconnecting
		select {
		case err := <-client.done:
			client.done <- err
		case <-time.After(time.Duration(1500+rng.IntN(2000)) * time.Millisecond):
			server.kill()
			server = serve(t, data, "--port", port)
		}
	}
	if err := client.end(t, 3*time.Minute); err != nil {
		t.Fatalf("run: %v\n%s\nworker:\n%s", err, tail(client.err.String()), tail(worker.err.String()))
	}
	checkFront(t, out, want)
}

// TestInterrupt stops a run with its own server by Ctrl-C: it says how to go on, and going on works.
func TestInterrupt(t *testing.T) {
	want := referenceFront(t)
	data := t.TempDir()
	out := filepath.Join(data, "run")
	p := start(t, data, append([]string{"run", "--json", "--out", out}, smallJob...)...)
	waitFor(t, filepath.Join(out, "log", "000001.json"))
	p.Process.Signal(os.Interrupt)
	p.end(t, 30*time.Second)
	if code := p.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if !strings.Contains(p.err.String(), "--resume --out "+out) {
		t.Errorf("does not say how to go on:\n%s", p.err.String())
	}
	p = start(t, data, "run", "--json", "--resume", "--out", out)
	if err := p.end(t, 3*time.Minute); err != nil {
		t.Fatalf("resume: %v\n%s", err, tail(p.err.String()))
	}
	checkFront(t, out, want)
}

// TestResumeWithoutDatabase resumes from the run folder alone, on another data folder.
func TestResumeWithoutDatabase(t *testing.T) {
	want := referenceFront(t)
	data := t.TempDir()
	out := filepath.Join(data, "run")
	p := start(t, data, append([]string{"run", "--json", "--out", out}, smallJob...)...)
	waitFor(t, filepath.Join(out, "log", "000002.json"))
	p.kill()
	p = start(t, t.TempDir(), "run", "--json", "--resume", "--out", out)
	if err := p.end(t, 3*time.Minute); err != nil {
		t.Fatalf("resume: %v\n%s", err, tail(p.err.String()))
	}
	checkFront(t, out, want)
}

// TestKillTraining kills a training with its own server at many moments, and interrupts it once: the delta is that of one that ran in one go.
func TestKillTraining(t *testing.T) {
	small := []string{"finetune", "--json", "--seq-len", "64", "--max-windows", "64", "--steps", "40", "--batch", "8", "--density", "0.05", "--numerics", "exact"}
	train := func(data string, args ...string) *program { return start(t, data, append(small, args...)...) }
	data := t.TempDir()
	whole := filepath.Join(data, "whole")
	if p := train(data, "--out", whole); p.end(t, 3*time.Minute) != nil {
		t.Fatalf("finetune:\n%s", tail(p.err.String()))
	}
	data = t.TempDir()
	out := filepath.Join(data, "killed")
	p := train(data, "--out", out)
	waitFor(t, filepath.Join(out, "prepared.json"))
	rng := rand.New(rand.NewPCG(chaos, 4))
	ended := false
	for i := range kills {
		select {
		case err := <-p.done:
			if ended = err == nil; !ended && p.ProcessState.ExitCode() != 130 {
				t.Fatalf("%v\n%s", err, tail(p.err.String()))
			}
		case <-time.After(time.Duration(500+rng.IntN(2500)) * time.Millisecond):
			if i%2 == 1 {
				p.Process.Signal(os.Interrupt)
				if p.end(t, 30*time.Second); p.ProcessState.ExitCode() != 130 && p.ProcessState.ExitCode() != 0 {
					t.Errorf("interrupted, exit code %d\n%s", p.ProcessState.ExitCode(), tail(p.err.String()))
				}
			} else {
				p.kill()
			}
		}
		if ended {
			break
		}
		p = start(t, data, "finetune", "--json", "--resume", "--out", out)
	}
	if !ended {
		if err := p.end(t, 3*time.Minute); err != nil {
			t.Fatalf("%v\n%s", err, tail(p.err.String()))
		}
	}
	for _, name := range []string{"delta.safetensors", "prepared.json"} {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(whole, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s of a killed training differs from that of one that was not", name)
		}
	}
}

// serve starts a server without workers and waits until it answers.
func serve(t *testing.T, data string, extra ...string) *program {
	t.Helper()
	p := start(t, data, append([]string{"server", "--json", "--workers", "0", "--ui-port", "0", "--port", "0"}, extra...)...)
	deadline := time.Now().Add(time.Minute)
	for {
		if b, err := os.ReadFile(filepath.Join(data, "server.json")); err == nil && strings.Contains(string(b), fmt.Sprintf("%d", p.Process.Pid)) {
			return p
		}
		select {
		case err := <-p.done:
			t.Fatalf("server: %v\n%s", err, tail(p.err.String()))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not come up\n%s", tail(p.err.String()))
		}
	}
}

// port is the port that the server listens on.
func (p *program) port(t *testing.T) string {
	t.Helper()
	for _, e := range p.Env {
		if data, ok := strings.CutPrefix(e, "PARETOPRESS_DATA="); ok {
			b, err := os.ReadFile(filepath.Join(data, "server.json"))
			if err != nil {
				t.Fatal(err)
			}
			var info struct{ Address string }
			if err := json.Unmarshal(b, &info); err != nil {
				t.Fatal(err)
			}
			return info.Address[strings.LastIndex(info.Address, ":")+1:]
		}
	}
	t.Fatal("the server has no data folder")
	return ""
}

// waitFor waits until a file is there.
func waitFor(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s is not written", path)
}

// checkFront compares the front.json of a run folder.
func checkFront(t *testing.T, folder string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(folder, "front.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("front.json differs from that of an undisturbed run:\n%s\nwant:\n%s", tail(string(got)), tail(string(want)))
	}
}
