package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paretopress/paretopress/internal/durable"
)

// ErrInUse is wrapped by the error of [Acquire] when another process serves the folder.
var ErrInUse = errors.New("data folder in use")

// Info is where the server of a data folder is reached.
type Info struct {
	Address string `json:"address"` // host:port of the Temporal frontend
	UI      string `json:"ui"`      // URL of the Temporal UI, without a path; empty if there is none
	PID     int    `json:"pid"`     // process that serves
}

// Files in the data folder.
const (
	lockFile = "lock"
	infoFile = "server.json"
)

// patience is how long [Acquire] waits for the lock: [Lookup] takes it for an instant.
const patience = 300 * time.Millisecond

// Lease is the right to serve a data folder.
type Lease struct {
	dir string
	fd  int // not an os.File, which would be closed when the Lease is no longer reachable
}

// Acquire takes the lock of dir, which it creates if need be. If another process has it the error
// wraps [ErrInUse] and names the folder and, where it is known, the address that it serves at.
func Acquire(dir string) (*Lease, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lease: open %s: %w", path, err)
	}
	l := &Lease{dir: dir, fd: fd}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err = flock(fd, unix.LOCK_EX)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if err == nil {
		err = l.Withdraw() // what a killed process published is no longer true
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		err = inUse(dir)
	} else {
		err = fmt.Errorf("lease: lock %s: %w", path, err)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return l, nil
}

// inUse says who has the lock of dir.
func inUse(dir string) error {
	if info, err := read(dir); err == nil {
		return fmt.Errorf("lease: %w: process %d serves %s at %s", ErrInUse, info.PID, dir, info.Address)
	}
	return fmt.Errorf("lease: %w: another process is starting or stopping a server on %s", ErrInUse, dir)
}

// Publish lets others find the server.
func (l *Lease) Publish(info Info) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(l.dir, infoFile), append(b, '\n'))
}

// Withdraw takes back what was published, so that nobody attaches to a server that is about to end.
func (l *Lease) Withdraw() error {
	if err := os.Remove(filepath.Join(l.dir, infoFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lease: %w", err)
	}
	return nil
}

// Release gives the folder free. The lock file stays: removing it would let two processes lock two files.
func (l *Lease) Release() error {
	return errors.Join(l.Withdraw(), unix.Close(l.fd))
}

// Lookup returns where the server of dir is reached, and false if no process serves it.
func Lookup(dir string) (Info, bool) {
	info, err := read(dir)
	if err != nil {
		return Info{}, false
	}
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return Info{}, false
	}
	defer f.Close() // gives the lock back, had we got it
	if err := flock(int(f.Fd()), unix.LOCK_SH); err == nil {
		return Info{}, false
	}
	return info, true
}

// read reads what is published in dir.
func read(dir string) (Info, error) {
	b, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(b, &info); err != nil {
		return Info{}, err
	}
	if info.Address == "" {
		return Info{}, fmt.Errorf("lease: %s holds no address", filepath.Join(dir, infoFile))
	}
	return info, nil
}

// flock takes a lock on a file without waiting.
func flock(fd, how int) error {
	for {
		err := unix.Flock(fd, how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
