//go:build !unix

package kernel

import (
	"bytes"
	"testing"
)

// fenced copies data. Only on Unix is there a page after it that cannot be read.
func fenced(_ *testing.T, data []byte) []byte { return bytes.Clone(data) }
