package bank

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/paretopress/paretopress/internal/durable"
)

// version is the version of the format of manifests and shards.
const version = 1

// Header says what the levels of a bank were built from.
type Header struct {
	Model       string `json:"model"`       // digest of the model
	Calibration string `json:"calibration"` // digest of text, windows and numerics of the Hessians; empty: none
	Operators   string `json:"operators"`   // names and versions of the operators
}

// ID is the digest that stands for the header, 64 hexadecimal digits.
func (h Header) ID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "paretopress bank %d\n%q\n%q\n%q\n", version, h.Model, h.Calibration, h.Operators))
	return hex.EncodeToString(sum[:])
}

// manifest is the content of manifest.json.
type manifest struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	ID      string `json:"id"`
	Header
}

const (
	manifestName   = "manifest.json"
	manifestFormat = "paretopress-bank"
)

// encode returns the one way to write a header.
func (h Header) encode() ([]byte, error) {
	data, err := json.MarshalIndent(manifest{manifestFormat, version, h.ID(), h}, "", "  ")
	return append(data, '\n'), err
}

// readManifest reads the manifest of the bank in dir.
func readManifest(dir string) (Header, error) {
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Header{}, fmt.Errorf("%w: %s is no bank: it has no %s", ErrNotFound, dir, manifestName)
	}
	if err != nil {
		return Header{}, fmt.Errorf("bank: %w", err)
	}
	return parseManifest(path, data)
}

func parseManifest(path string, data []byte) (Header, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Header{}, corrupt(path, "%v", err)
	}
	if m.Format != manifestFormat {
		return Header{}, corrupt(path, "format %q, want %q", m.Format, manifestFormat)
	}
	if m.Version != version {
		return Header{}, fmt.Errorf("bank: %s: version %d of the format; this program reads version %d", path, m.Version, version)
	}
	// The ID covers the fields, and there is one way to write them: any other byte is damage.
	if want, err := m.Header.encode(); err != nil || !bytes.Equal(data, want) {
		return Header{}, corrupt(path, "its content does not match its id")
	}
	return m.Header, nil
}

// match returns an error unless the bank in dir, whose header is h, is the one that want describes.
func (h Header) match(dir string, want Header) error {
	switch {
	case h.Model != want.Model:
		return fmt.Errorf("%w: %s was built from model %s, not %s", ErrOtherModel, dir, short(h.Model), short(want.Model))
	case h != want:
		return fmt.Errorf("%w: %s was built with calibration %s and operators %q, not %s and %q",
			ErrOtherBuild, dir, short(h.Calibration), h.Operators, short(want.Calibration), want.Operators)
	}
	return nil
}

// short abbreviates a digest for messages.
func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	if digest == "" {
		return "none"
	}
	return digest
}

// publish writes the manifest of a new bank, or finds that another process just has.
func (h Header) publish(dir string) error {
	data, err := h.encode()
	if err != nil {
		return fmt.Errorf("bank: %w", err)
	}
	if err := durable.Publish(filepath.Join(dir, manifestName), data); err != nil && !errors.Is(err, durable.ErrConflict) {
		return fmt.Errorf("bank: %w", err)
	}
	return nil
}
