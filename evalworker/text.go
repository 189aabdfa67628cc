package evalworker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/builtin"
	"github.com/paretopress/paretopress/workflows"
)

// The text that goes with the builtin model when a job names none: of a seed that the model was not
// trained on, and enough for some fifty held-out windows of 512 tokens.
const (
	builtinSeed  = 1 << 40
	builtinBytes = 256 << 10
)

// source is a text with its name in errors and its digest.
type source struct {
	name   string
	data   []byte
	digest string
}

// readSource reads a text file; no name is the builtin model's text. want is the digest that the text
// must have, or empty.
func readSource(name, want string) (source, error) {
	s := source{name: name}
	var err error
	if name == "" {
		s.name, s.data = "builtin", builtin.Text(builtinSeed, builtinBytes)
	} else if s.data, err = os.ReadFile(name); err != nil {
		return s, mark(ErrJob, fmt.Errorf("evalworker: --text: %w", err))
	}
	sum := sha256.Sum256(s.data)
	s.digest = hex.EncodeToString(sum[:])
	if want != "" && want != s.digest {
		return s, mark(ErrChanged, fmt.Errorf("evalworker: text %s has SHA-256 %.12s, was to have %.12s", s.name, s.digest, want))
	}
	return s, nil
}

// windows cuts a text into windows of the model's tokens.
func (s source) windows(t *engine.Tokenizer, c engine.Config, seqLen, limit int) (Windows, error) {
	if c.MaxPositions > 0 && seqLen > c.MaxPositions {
		return Windows{}, jobErrorf("--seq-len %d is more than the model's %d positions", seqLen, c.MaxPositions)
	}
	w, err := SplitWindows(s.name, t.Encode(s.data), seqLen, limit)
	return w, mark(ErrJob, err)
}

// splitJob makes the split of a job's text, and returns the texts it was made of.
func splitJob(ck *engine.Checkpoint, job workflows.Job) (s Split, text, heldOut source, err error) {
	tokenizer, err := ck.Tokenizer()
	if err != nil {
		return s, text, heldOut, err
	}
	if text, err = readSource(job.Text, job.TextDigest); err != nil {
		return s, text, heldOut, err
	}
	all, err := text.windows(tokenizer, ck.Config(), job.SeqLen, job.MaxWindows)
	if err != nil {
		return s, text, heldOut, err
	}
	if s, err = SplitText(text.name, all, job.SeqLen); err != nil {
		return s, text, heldOut, mark(ErrJob, err)
	}
	if job.HeldOutText != "" {
		if heldOut, err = readSource(job.HeldOutText, job.HeldOutTextDigest); err != nil {
			return s, text, heldOut, err
		}
		if s.HeldOut, err = heldOut.windows(tokenizer, ck.Config(), job.SeqLen, job.MaxWindows); err != nil {
			return s, text, heldOut, err
		}
		if s.HeldOut.Len() < minHeldOut {
			err = jobErrorf("held-out text %s gives %d windows of --seq-len %d, want at least %d", heldOut.name, s.HeldOut.Len(), job.SeqLen, minHeldOut)
			return s, text, heldOut, err
		}
	}
	s.Calibration = s.Calibration.first(max(1, int(job.CalibrationTokens/int64(job.SeqLen))))
	return s, text, heldOut, nil
}
