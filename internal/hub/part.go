package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"regexp"
	"strconv"
)

// part is a file that is being filled, with the hash of what it holds.
type part struct {
	*os.File
	b    blob
	size int64
	far  int64     // the largest that size has been
	hash hash.Hash // nil: the blob is not named by a hash

	write func(*os.File, []byte) (int, error)
}

var hexadecimal = regexp.MustCompile(`^[0-9a-f]+$`)

// openPart opens what there is of a blob, to be gone on with.
func openPart(b blob, write func(*os.File, []byte) (int, error)) (*part, error) {
	file, err := os.OpenFile(b.partial(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{File: file, b: b, write: write}
	p.begin()
	p.size, err = io.Copy(p.hashed(), io.LimitReader(file, b.size+1))
	p.far = p.size
	if err == nil && p.size > b.size {
		err = p.restart()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return p, nil
}

// begin starts the hash.
func (p *part) begin() {
	p.size, p.hash = 0, nil
	switch known := hexadecimal.MatchString(p.b.etag); {
	case known && len(p.b.etag) == 2*sha256.Size:
		p.hash = sha256.New()
	case known && len(p.b.etag) == 2*sha1.Size: // git's: of a header and the content
		p.hash = sha1.New()
		fmt.Fprintf(p.hash, "blob %d\x00", p.b.size)
	}
}

// hashed is where bytes go to be hashed.
func (p *part) hashed() io.Writer {
	if p.hash == nil {
		return io.Discard
	}
	return p.hash
}

// Write appends bytes.
func (p *part) Write(data []byte) (int, error) {
	n, err := p.write(p.File, data)
	p.size += int64(n)
	p.far = max(p.far, p.size)
	p.hashed().Write(data[:n]) // never fails
	return n, err
}

// restart throws away what there is.
func (p *part) restart() error {
	p.begin()
	if err := p.Truncate(0); err != nil {
		return err
	}
	_, err := p.Seek(0, io.SeekStart)
	return err
}

// sum is the hash of what the file holds, empty if the blob is not named by one.
func (p *part) sum() string {
	if p.hash == nil {
		return ""
	}
	return hex.EncodeToString(p.hash.Sum(nil))
}

// length reads a number of bytes.
func length(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0
}
