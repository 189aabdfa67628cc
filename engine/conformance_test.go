package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// TestDecodesLikeGGUF compares every tensor of real files, bit for bit, with what the gguf package for
// Python decodes it to. PARETOPRESS_DECODED names the digests, which bench/peers/check_decode.py makes:
// {path: {ggml's name of the tensor: SHA-256 of its float32, little-endian, rows in Hugging Face's order}}.
func TestDecodesLikeGGUF(t *testing.T) {
	list := os.Getenv("PARETOPRESS_DECODED")
	if list == "" {
		t.Skip("PARETOPRESS_DECODED does not name the digests of bench/peers/check_decode.py")
	}
	var files map[string]map[string]string
	data, err := os.ReadFile(list)
	if err == nil {
		err = json.Unmarshal(data, &files)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s lists no file", list)
	}
	for path, tensors := range files {
		t.Run(path, func(t *testing.T) {
			ck, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer ck.Close()
			if got, want := len(ck.Names()), len(tensors); got != want {
				t.Errorf("%d tensors, want %d", got, want)
			}
			for name, want := range tensors {
				tensor, err := ck.Tensor(hfName(name))
				if err != nil {
					t.Error(err)
					continue
				}
				if got := decodedDigest(tensor); got != want {
					t.Errorf("%s, %s: its weights have digest %s, want %s", name, tensor.Type, got, want)
				}
			}
		})
	}
}

// decodedDigest is the SHA-256 of a tensor's float32.
func decodedDigest(t Tensor) string {
	hash, row, raw := sha256.New(), make([]float32, t.Cols()), make([]byte, 4*t.Cols())
	for r := range t.Rows() {
		t.DecodeRows(r, 1, row)
		for i, x := range row {
			binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(x))
		}
		hash.Write(raw)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
