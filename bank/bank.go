package bank

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
)

// Bank is an open bank. Its methods may be called from several goroutines at once, and several
// processes may have the same bank open.
type Bank struct {
	dir    string
	header Header

	mu    sync.Mutex
	units map[string]*unit
}

// unit is what this process has mapped of a unit.
type unit struct {
	mu    sync.Mutex
	path  string
	shard *shard   // the newest version that was opened; nil: none
	old   []*shard // versions before it, whose weights may be in use
}

// Create opens the bank in dir, or makes an empty one with this header. It returns an error that wraps
// [ErrOtherModel] or [ErrOtherBuild] if the bank there has another header.
func Create(dir string, h Header) (*Bank, error) {
	if err := os.MkdirAll(filepath.Join(dir, unitsDir), 0o755); err != nil {
		return nil, fmt.Errorf("bank: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, manifestName)); errors.Is(err, fs.ErrNotExist) {
		unlock, err := lock(dir)
		if err != nil {
			return nil, err
		}
		err = h.publish(dir)
		unlock()
		if err != nil {
			return nil, err
		}
	}
	b, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if err := b.header.match(dir, h); err != nil {
		return nil, err
	}
	return b, nil
}

// Open opens the bank in dir. It returns an error that wraps [ErrNotFound] if there is none.
func Open(dir string) (*Bank, error) {
	h, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	sweep(dir)
	return &Bank{dir: dir, header: h, units: map[string]*unit{}}, nil
}

const (
	unitsDir = "units"
	lockName = ".lock"
	shardExt = ".safetensors"
)

// sweep removes what a crash left behind. Who writes holds the lock, so that all temporary files are
// leftovers once it is had. Where it is not to be had, or dir is read-only, the next one to open the
// bank will do it.
func sweep(dir string) {
	unlock, err := tryLock(dir)
	if err != nil {
		return
	}
	defer unlock()
	durable.Sweep(dir, 0)
	durable.Sweep(filepath.Join(dir, unitsDir), 0)
}

// Header returns what the bank was built from.
func (b *Bank) Header() Header { return b.header }

// Dir returns the folder of the bank.
func (b *Bank) Dir() string { return b.dir }

// Match returns an error that wraps [ErrOtherModel] unless the bank belongs to the model with this
// digest.
func (b *Bank) Match(model string) error {
	want := b.header
	want.Model = model
	return b.header.match(b.dir, want)
}

// Has tells whether [Bank.Weights] gives a level of a unit. A level that is damaged counts as absent.
func (b *Bank) Has(unit, level string) bool {
	_, err := b.Weights(unit, level)
	return err == nil
}

// Weights returns a level of a unit. It is valid until [Bank.Close]. The first use in a process checks
// the digest. Errors wrap [ErrNotFound], [ErrCorrupt], [ErrOtherModel] or [ErrOtherBuild].
func (b *Bank) Weights(unit, level string) (kernel.Packed, error) {
	u, err := b.unit(unit)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shard != nil {
		if l := u.shard.level(level); l != nil {
			if w, err := u.shard.weights(l); err == nil {
				return w, nil
			}
		}
	}
	// Another process, or this one, may have added the level since the shard was opened.
	if err := b.refresh(u, unit); err != nil {
		return nil, err
	}
	if u.shard != nil {
		if l := u.shard.level(level); l != nil {
			return u.shard.weights(l)
		}
	}
	return nil, fmt.Errorf("%w: %s has no level %s of %s", ErrNotFound, b.dir, level, unit)
}

// Alias returns the level of a unit for which an integer stands, as its entry declared.
func (b *Bank) Alias(unit string, number int) (level string, ok bool) {
	u, err := b.unit(unit)
	if err != nil {
		return "", false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := b.refresh(u, unit); err != nil || u.shard == nil {
		return "", false
	}
	return u.shard.alias(number)
}

// unit returns the state of a unit.
func (b *Bank) unit(name string) (*unit, error) {
	if err := checkName("unit", name, unitSigns); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.units == nil {
		return nil, fmt.Errorf("bank: %s is closed", b.dir)
	}
	u := b.units[name]
	if u == nil {
		u = &unit{path: b.path(name)}
		b.units[name] = u
	}
	return u, nil
}

func (b *Bank) path(unit string) string { return filepath.Join(b.dir, unitsDir, unit+shardExt) }

// refresh opens the shard of a unit if it is not the one that is open. u.shard stays nil if there is
// none.
func (b *Bank) refresh(u *unit, name string) error {
	info, err := os.Stat(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bank: %w", err)
	}
	if u.shard != nil && os.SameFile(info, u.shard.info) && info.ModTime().Equal(u.shard.info.ModTime()) && info.Size() == u.shard.length {
		return nil
	}
	s, err := openShard(u.path, name, b.header.ID())
	if err != nil {
		return b.explain(err)
	}
	if u.shard != nil {
		u.old = append(u.old, u.shard)
	}
	u.shard = s
	return nil
}

// explain tells whether a shard of another bank is one of another model.
func (b *Bank) explain(err error) error {
	var other *otherBank
	if errors.As(err, &other) {
		return b.header.match(other.path, other.header)
	}
	return err
}

// Close unmaps all weights.
func (b *Bank) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, u := range b.units {
		u.mu.Lock()
		for _, s := range append(u.old, u.shard) {
			if s != nil {
				errs = append(errs, s.close())
			}
		}
		u.old, u.shard = nil, nil
		u.mu.Unlock()
	}
	b.units = nil
	return errors.Join(errs...)
}

// Signs that names may hold beside letters and digits.
const (
	unitSigns  = "._-"
	levelSigns = "._-+:"
)

// checkName returns an error unless a name can be that of a file or a tensor.
func checkName(what, name, signs string) error {
	if name == "" || len(name) > 200 || name[0] == '.' {
		return fmt.Errorf("bank: %q is no name of a %s", name, what)
	}
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune(signs, r) {
			return fmt.Errorf("bank: %q is no name of a %s: it has %q", name, what, r)
		}
	}
	return nil
}
