package report

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// bytes words n in decimal units, as networks and disks are sold: 1 kB = 1000 B.
func bytes(n int64) string {
	x, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for i+1 < len(units) && x >= 999.95 { // which prints as 1000.0
		x /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// count groups the digits of n by threes: 1,234,567.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0 // digit
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// percent words a fraction; "-" where it is no number.
func percent(fraction float64) string {
	if !finite(fraction) {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*fraction)
}

// rate words a number a second: three digits, or all before the point.
func rate(perSecond float64) string {
	switch {
	case !finite(perSecond):
		return "-"
	case perSecond >= 100:
		return count(int64(math.Round(perSecond)))
	}
	return fmt.Sprintf("%.3g", perSecond)
}

// seconds words a span of time, such as 1h2m3s; "-" where it is no number.
func seconds(s float64) string {
	if !finite(s) {
		return "-"
	}
	return (time.Duration(math.Round(s)) * time.Second).String()
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
