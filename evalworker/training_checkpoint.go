package evalworker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/sparseft"
)

// checkpointed is what a checkpoint holds beside the trainer's state: the first line of the file.
type checkpointed struct {
	Tokens int64     `json:"tokens"` // learnt from
	Losses []float64 `json:"losses"` // of each step
}

// checkpoint is the path of the last one.
func (t *training) checkpoint() string { return filepath.Join(t.folder, checkpointFile) }

// pause is the least time from one checkpoint to the next: half a minute, and so long that saving takes no more than a twentieth of the time. Tests shorten it.
var pause = func(took time.Duration) time.Duration { return max(30*time.Second, 20*took) }

// saver writes the checkpoints of a training.
type saver struct {
	t       *training
	trainer *sparseft.Trainer
	last    time.Time     // the end of the last one
	took    time.Duration // by it
	done    chan error    // of one that is being written; nil without
}

// due tells whether it is time for the next one.
func (s *saver) due() bool {
	return s.done == nil && time.Since(s.last) > pause(s.took)
}

// begin writes a checkpoint in the place of the one before; a disk that fills leaves that one. Between two steps it is written beside the gradients of the
// next: wait for it before that step is made.
func (s *saver) begin(kept checkpointed) error {
	head, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("evalworker: %s: %w", checkpointFile, err)
	}
	write, err := s.trainer.Snapshot()
	if err != nil {
		return fmt.Errorf("evalworker: checkpoint: %w", err)
	}
	began, done := time.Now(), make(chan error, 1)
	s.done = done
	go func() {
		err := durable.WriteFrom(s.t.checkpoint(), func(w io.Writer) error {
			if _, err := w.Write(append(head, '\n')); err != nil {
				return err
			}
			return write(w)
		})
		s.took = time.Since(began)
		done <- err
	}()
	if _, micro := s.trainer.Cursor(); micro > 0 {
		return s.wait()
	}
	return nil
}

// wait waits for the end of what was begun.
func (s *saver) wait() error {
	if s.done == nil {
		return nil
	}
	err := <-s.done
	s.done, s.last = nil, time.Now()
	if err != nil {
		return fmt.Errorf("evalworker: checkpoint: %w", err)
	}
	return nil
}

// save sees to it that there is a checkpoint of the state as it is.
func (s *saver) save(kept checkpointed) error {
	if s.done != nil { // it is of the beginning of this step, since none is made before its end
		err := s.wait()
		if _, micro := s.trainer.Cursor(); err != nil || micro == 0 {
			return err
		}
	}
	return errors.Join(s.begin(kept), s.wait())
}

// restore goes on from the last checkpoint, or begins.
func (t *training) restore() (*sparseft.Trainer, checkpointed, error) {
	var kept checkpointed
	data, err := os.ReadFile(t.checkpoint())
	if errors.Is(err, fs.ErrNotExist) {
		trainer, err := sparseft.New(t.targets, t.options)
		return trainer, kept, mark(ErrJob, err)
	}
	if err != nil {
		return nil, kept, fmt.Errorf("evalworker: %w", err)
	}
	head, state, ok := bytes.Cut(data, []byte("\n"))
	if !ok || json.Unmarshal(head, &kept) != nil {
		return nil, kept, mark(ErrDamaged, fmt.Errorf("evalworker: %s is no checkpoint", t.checkpoint()))
	}
	trainer, err := sparseft.Restore(t.targets, t.options, state)
	if err != nil {
		return nil, kept, mark(ErrDamaged, fmt.Errorf("evalworker: %s: %w", t.checkpoint(), err))
	}
	return trainer, kept, nil
}
