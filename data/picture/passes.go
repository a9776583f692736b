package picture

// acrossPlain resizes every row of src, of stride values, to a row of dst:
//
//	dst(y, x) = clip((Σ_k weight(x, k)·src(y, start(x)+k) + 2^(shift-1)) >> shift)
func acrossPlain(dst, src []uint8, stride int, a *axis) {
	for y := range len(src) / stride {
		line, out := src[y*stride:(y+1)*stride], dst[y*a.out:(y+1)*a.out]
		for x := range out {
			weight := a.weight[x*a.taps : (x+1)*a.taps]
			from := line[a.start[x]:][:len(weight)]
			sum := int32(1) << (a.shift - 1)
			for k, w := range weight {
				sum += int32(w) * int32(from[k])
			}
			out[x] = clip(sum >> a.shift)
		}
	}
}

// downPlain resizes every column of src, whose rows have width values and begin with row first, to a column of dst:
//
//	dst(y, x) = clip((Σ_k weight(y, k)·src(start(y)+k-first, x) + 2^(shift-1)) >> shift)
func downPlain(dst, src []uint8, width, first int, a *axis) {
	var sums [64]int32
	for y := range a.out {
		weight := a.weight[y*a.taps : (y+1)*a.taps]
		from := src[(int(a.start[y])-first)*width:]
		out := dst[y*width : (y+1)*width]
		for x := 0; x < width; x += len(sums) {
			n := min(len(sums), width-x)
			sum := sums[:n]
			for i := range sum {
				sum[i] = int32(1) << (a.shift - 1)
			}
			for k, w := range weight {
				line := from[k*width+x:][:n]
				for i, v := range line {
					sum[i] += int32(w) * int32(v)
				}
			}
			for i, v := range sum {
				out[x+i] = clip(v >> a.shift)
			}
		}
	}
}

func clip(v int32) uint8 {
	return uint8(min(max(v, 0), 255))
}

// lookUpPlain writes value[v] of each byte v into dst, with every row of width bytes mirrored if mirror.
func lookUpPlain(dst []float32, src []uint8, width int, mirror bool, value *[256]float32) {
	for at := 0; at < len(src); at += width {
		line, out := src[at:at+width], dst[at:at+width]
		if !mirror {
			for x, v := range line {
				out[x] = value[v]
			}
			continue
		}
		for x, v := range line {
			out[len(out)-1-x] = value[v]
		}
	}
}
