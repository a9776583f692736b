package cli

// configCommand is lte config.
type configCommand struct{ settings }

// Run prints the effective configuration.
func (c configCommand) Run(p *process) error {
	effective, err := c.load()
	if err != nil {
		return err
	}
	return effective.Write(p.stdout)
}
