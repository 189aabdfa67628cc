package export

import (
	"math"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// ggml's types for plain numbers. The others are in package kernel.
const (
	F32  kernel.GGMLType = 0
	F16  kernel.GGMLType = 1
	BF16 kernel.GGMLType = 30
)

// plain are the names and the bytes of a number of the plain types.
var plain = map[kernel.GGMLType]struct {
	name  string
	bytes int
}{F32: {"f32", 4}, F16: {"f16", 2}, BF16: {"bf16", 2}}

// typeName is ggml's name of a type.
func typeName(t kernel.GGMLType) string {
	if p, ok := plain[t]; ok {
		return p.name
	}
	return t.String()
}

// typeBlock is the number of weights of a block.
func typeBlock(t kernel.GGMLType) int {
	if _, ok := plain[t]; ok {
		return 1
	}
	return t.Block()
}

// typeBytes is the size of a matrix whose rows are whole blocks.
func typeBytes(t kernel.GGMLType, rows, cols int) int64 {
	if p, ok := plain[t]; ok {
		return int64(rows) * int64(cols) * int64(p.bytes)
	}
	return t.Bytes(rows, cols)
}

// storedType is the type of a tensor of a checkpoint, if it is one that GGUF files have.
func storedType(t engine.Tensor) (kernel.GGMLType, bool) {
	for number, p := range plain {
		if strings.EqualFold(p.name, t.Type) {
			return number, true
		}
	}
	for _, k := range kernel.GGMLTypes() {
		if strings.EqualFold(k.String(), t.Type) {
			return k, true
		}
	}
	return 0, false
}

// fileTypes are the numbers by which general.file_type names the type that most of a file is in: LLAMA_FTYPE_MOSTLY_…
// of llama.h. The mixtures that llama.cpp calls medium stand for those of a K-quant.
var fileTypes = map[kernel.GGMLType]int{
	F32: 0, F16: 1, kernel.Q4_0: 2, kernel.Q4_1: 3, kernel.Q8_0: 7, kernel.Q5_0: 8, kernel.Q5_1: 9, kernel.Q2K: 10,
	kernel.Q3K: 12, kernel.Q4K: 15, kernel.Q5K: 17, kernel.Q6K: 18, kernel.IQ4NL: 25, BF16: 32, kernel.MXFP4: 38,
}

// common are the types that stand for a number of bits a weight, the better one for its size first.
var common = []kernel.GGMLType{
	kernel.Q2K, kernel.Q3K, kernel.Q4K, kernel.Q5K, kernel.Q6K, kernel.Q4_0, kernel.Q5_0, kernel.Q8_0,
}

// nearestType is the type for rows of cols weights whose size is nearest to some bits a weight, F16 where that is.
func nearestType(cols int, bits float64) kernel.GGMLType {
	best, least := F16, math.Abs(16-bits)
	for _, t := range common {
		if cols%t.Block() != 0 {
			continue
		}
		if d := math.Abs(8*float64(t.BlockBytes())/float64(t.Block()) - bits); d < least {
			best, least = t, d
		}
	}
	return best
}
