package prune

// keepLargest sets keep to false for the n smallest keys and to true for the others. Of equal keys the
// first count as smaller. n is at most len(keys), and keys are below 2^31, as the bits of non-negative
// floating-point numbers are, which have the order of the numbers.
func keepLargest(keep []bool, keys []uint32, n int) {
	// Radix selection: the n-th smallest key is found 11, 10 and 10 bits at a time.
	var limit, known uint32 // the bits found so far and their mask
	rank := n               // among the keys that have these bits
	for _, digit := range [...]struct{ shift, bits uint }{{20, 11}, {10, 10}, {0, 10}} {
		var count [1 << 11]int
		mask := uint32(1)<<digit.bits - 1
		for _, k := range keys {
			if k&known == limit {
				count[k>>digit.shift&mask]++
			}
		}
		d := uint32(0)
		for ; d < mask && rank >= count[d]; d++ {
			rank -= count[d]
		}
		limit |= d << digit.shift
		known |= mask << digit.shift
	}
	for i, k := range keys {
		switch {
		case k > limit:
			keep[i] = true
		case k < limit:
			keep[i] = false
		default: // rank of these are among the n smallest
			keep[i] = rank <= 0
			rank--
		}
	}
}
