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

// save writes a checkpoint in the place of the one before. A disk that fills leaves that one.
func (t *training) save(trainer *sparseft.Trainer, kept checkpointed) error {
	head, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("evalworker: %s: %w", checkpointFile, err)
	}
	err = durable.WriteFrom(t.checkpoint(), func(w io.Writer) error {
		if _, err := w.Write(append(head, '\n')); err != nil {
			return err
		}
		return trainer.Save(w)
	})
	if err != nil {
		return fmt.Errorf("evalworker: checkpoint: %w", err)
	}
	return nil
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
