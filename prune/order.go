package prune

// keepLargest sets keep to false for the n smallest keys and to true for the others. Of equal keys the
// first count as smaller. n is at most len(keys), and keys are below 2^31, as the bits of non-negative
// floating-point numbers are, which have the order of the numbers.
func keepLargest(keep []bool, keys []uint32, n int) {
	// Radix selection of the n-th smallest key: by its 11 high bits among all keys, then 10 bits at a time
	// among those that share what is known of it, which are few.
	const high = 20
	var count, odd [1 << (31 - high)]int
	for i := 0; i+1 < len(keys); i += 2 { // two counters, as equal keys in a row wait for each other
		count[keys[i]>>high&(1<<11-1)]++
		odd[keys[i+1]>>high&(1<<11-1)]++
	}
	if len(keys)%2 != 0 {
		count[keys[len(keys)-1]>>high]++
	}
	for d := range count {
		count[d] += odd[d]
	}
	digit, rank := nth(count[:], n)
	tied := make([]int, 0, count[digit]) // positions
	for i, k := range keys {
		keep[i] = k>>high > digit
		if k>>high == digit {
			tied = append(tied, i)
		}
	}
	for _, shift := range [...]uint{10, 0} {
		var count [1 << 10]int
		for _, i := range tied {
			count[keys[i]>>shift&(1<<10-1)]++
		}
		digit, rank = nth(count[:], rank)
		rest := tied[:0]
		for _, i := range tied {
			d := keys[i] >> shift & (1<<10 - 1)
			keep[i] = d > digit
			if d == digit {
				rest = append(rest, i)
			}
		}
		tied = rest
	}
	for at, i := range tied { // equal keys, of which rank are among the n smallest
		keep[i] = at >= rank
	}
}

// nth returns the digit of the n-th smallest of the keys that were counted by a digit, from 0 on, and its rank among the
// keys with this digit.
func nth(count []int, n int) (digit uint32, rank int) {
	for int(digit) < len(count)-1 && n >= count[digit] {
		n -= count[digit]
		digit++
	}
	return digit, n
}

// keepPattern sets keep to true for the n largest of every m keys, of which there is a multiple, and to false for the others. Of equal keys the
// first count as smaller.
func keepPattern(keep []bool, keys []uint32, n, m int) {
	for ; len(keys) > 0; keys, keep = keys[m:], keep[m:] {
		for i := range m {
			smaller := 0 // keys that count as smaller
			for j, k := range keys[:m] {
				if k < keys[i] || k == keys[i] && j < i {
					smaller++
				}
			}
			keep[i] = smaller >= m-n
		}
	}
}
