//go:build !cgo

package picture

import "errors"

var errNoJPEG = errors.New("no libjpeg")

func decodeJPEG(*Picture, []byte, bool) error { return errNoJPEG }
