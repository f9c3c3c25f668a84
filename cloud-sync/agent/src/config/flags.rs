//! The flags that the table makes.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::table::{KEYS, Key, flag_names};

/// Values that were given as flags, not yet read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Key and text of each flag that was given.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static Key, &str)> {
        self.given.iter().filter_map(|(name, text)| Some((Key::named(name)?, text.as_str())))
    }

    /// Flags made by hand, for callers that have no command line.
    pub fn of(given: &[(&'static str, &str)]) -> Self {
        Flags { given: given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect() }
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS {
            if let Some(text) = matches.get_one::<String>(key.name) {
                self.given.push((key.name, text.clone()));
            }
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().zip(flag_names()).fold(command, |command, (key, flag)| {
            let help = format!("{} [key: {}] [default: {}]", key.doc, key.name, shown(key.default));
            command.arg(
                Arg::new(key.name)
                    .long(flag.as_str())
                    .value_name("VALUE")
                    .action(ArgAction::Set)
                    .help(help)
                    .help_heading("Configuration (also in agent.toml and as CASK_* variables)")
                    // The short help is for finding a command; the long one and `edge-agent config` have the keys.
                    .hide_short_help(true),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn shown(default: &str) -> &str {
    if default.is_empty() { "none" } else { default }
}
