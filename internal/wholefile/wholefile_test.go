package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Fails if what a failed write leaves is anything but what was there before, or a part of the new is seen under the name. Shown to
// fail without the removal, and by writing under the name itself.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	broken := errors.New("broken")
	for _, c := range []struct {
		text, want string
		err        error
	}{{"", "", broken}, {"first", "first", nil}, {"second", "first", broken}, {"third", "third", nil}} {
		err := Write(path, func(w io.Writer) error {
			_, err := io.WriteString(w, c.text)
			return errors.Join(err, c.err)
		})
		if !errors.Is(err, c.err) {
			t.Errorf("%q: %v", c.text, err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("after %q: %q, want %q", c.text, got, c.want)
		}
		if left, _ := filepath.Glob(path + ".*"); left != nil {
			t.Errorf("after %q: %v is left", c.text, left)
		}
	}
}
