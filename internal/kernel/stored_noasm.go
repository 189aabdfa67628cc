//go:build !amd64 || noasm

package kernel

func decodeF16Blocks(_ variant, dst *float32, src *byte, blocks int)  { decodeF16Go(dst, src, blocks) }
func decodeBF16Blocks(_ variant, dst *float32, src *byte, blocks int) { decodeBF16Go(dst, src, blocks) }
func roundF16Blocks(_ variant, dst, src *float32, blocks int)         { roundF16Go(dst, src, blocks) }
func decodeQ4_1Blocks(_ variant, dst *float32, src *byte, blocks int) { decodeQ4_1Go(dst, src, blocks) }

func magnitudeBlocks(_ variant, acc *[lanes]uint32, x *float32, blocks int) {
	magnitudeGo(acc, x, blocks)
}

func decodeGroups(_ variant, _ []float32, _ []byte, _ int, _ []grid, _ int) bool { return false }

func expand(_ variant, _ []float32, _, _ []byte, _ int, _ bool) int { return 0 }
