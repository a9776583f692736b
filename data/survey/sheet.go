package survey

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"

	"lte/data"
	"lte/data/picture"
	"lte/internal/quote"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// Measures of a contact sheet, in pixels.
const (
	cell = 64 // side of an image's cell
	gap  = 4
	text = 160 // for the class's name
)

// Sheet writes a contact sheet as PNG: a row for each class, or for rows evenly spaced classes of a larger set, with the first columns
// training images of each. An image that cannot be read is a red cell.
func Sheet(w io.Writer, set *data.Set, rows, columns int) error {
	rows = min(rows, set.Classes)
	sheet := image.NewRGBA(image.Rect(0, 0, text+columns*(cell+gap)+gap, rows*(cell+gap)+gap))
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	members := make([][]int, set.Classes)
	for i := range set.Train.Len() {
		if c := set.Train.Label(i); len(members[c]) < columns {
			members[c] = append(members[c], i)
		}
	}
	var decoded, fitted data.Picture
	var resizer picture.Resizer
	for row := range rows {
		class := row * set.Classes / rows
		top := gap + row*(cell+gap)
		name := ""
		if class < len(set.ClassNames) {
			name = quote.Text(set.ClassNames[class])
		}
		name = name[:min(len(name), text)] // a character is wider than a pixel
		write := font.Drawer{Dst: sheet, Src: image.Black, Face: basicfont.Face7x13, Dot: fixed.P(gap, top+cell/2+4)}
		for len(name) > 0 && write.MeasureString(name).Ceil() > text-2*gap {
			name = name[:len(name)-1]
		}
		write.DrawString(name)
		for column, i := range members[class] {
			rect := image.Rect(0, 0, cell, cell).Add(image.Pt(text+column*(cell+gap), top))
			if err := set.Train.Picture(&decoded, i); err != nil {
				draw.Draw(sheet, rect, image.NewUniform(color.RGBA{200, 0, 0, 255}), image.Point{}, draw.Src)
				continue
			}
			height, width := fit(decoded.Height, decoded.Width)
			resizer.Resize(&fitted, &decoded, picture.Uncropped(picture.Full(decoded.Height, decoded.Width), height, width), picture.Bilinear)
			drawPicture(sheet, rect, &fitted, set.WhiteLevel())
		}
	}
	return png.Encode(w, sheet)
}

// fit returns the largest size of that aspect ratio that fits into a cell.
func fit(height, width int) (int, int) {
	if height > width {
		return cell, max(1, cell*width/height)
	}
	return max(1, cell*height/width), cell
}

// drawPicture draws a picture into the middle of its cell; the byte value white is white.
func drawPicture(sheet *image.RGBA, rect image.Rectangle, p *data.Picture, white int) {
	left, top := rect.Min.X+(cell-p.Width)/2, rect.Min.Y+(cell-p.Height)/2
	for y := range p.Height {
		for x := range p.Width {
			var rgb [3]uint8
			for c := range rgb {
				v := int(p.Plane(min(c, p.Channels-1))[y*p.Width+x])
				rgb[c] = uint8(min(255, v*255/white))
			}
			sheet.SetRGBA(left+x, top+y, color.RGBA{rgb[0], rgb[1], rgb[2], 255})
		}
	}
}
