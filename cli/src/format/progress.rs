//! A pull as it goes: bars on a terminal, docker's plain lines elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use skep_image::{Digest, LayerEvent, Progress};

/// Shows the layers of one pull.
pub(crate) struct PullProgress {
    bars: Option<MultiProgress>,
    layers: Mutex<HashMap<String, Layer>>,
    to_stderr: bool,
}

#[derive(Default)]
struct Layer {
    bar: Option<ProgressBar>,
    /// The last plain line, so that none comes twice.
    said: String,
}

impl PullProgress {
    /// With bars when there is a terminal.
    pub(crate) fn new(terminal: bool, to_stderr: bool) -> Self {
        let target = if to_stderr { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
        Self {
            bars: terminal.then(|| MultiProgress::with_draw_target(target)),
            layers: Mutex::new(HashMap::new()),
            to_stderr,
        }
    }

    /// The line before the layers.
    pub(crate) fn heading(&self, text: &str) {
        self.line(text);
    }

    /// Leaves the bars as they are.
    pub(crate) fn finish(&self) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in layers.values().filter_map(|layer| layer.bar.as_ref()) {
            bar.abandon();
        }
    }

    fn line(&self, text: &str) {
        match (&self.bars, self.to_stderr) {
            (_, true) => eprintln!("{text}"),
            (_, false) => {
                super::output::line(text).ok();
            }
        }
    }

    fn show_bar(&self, bars: &MultiProgress, layer: &mut Layer, name: &str, event: &LayerEvent) {
        let bar = layer.bar.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_prefix(name.to_owned());
            bar
        });
        let counted = match event {
            LayerEvent::Downloading { current, total } | LayerEvent::Extracting { current, total } => {
                Some((*current, *total))
            }
            _ => None,
        };
        let template = match counted {
            Some(_) => "{prefix}: {msg} [{bar:50}] {bytes}/{total_bytes}",
            None => "{prefix}: {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if let Some((current, total)) = counted {
            bar.set_length(total);
            bar.set_position(current);
        }
        bar.set_message(words(event));
    }
}

impl Progress for PullProgress {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        let name: String = digest.hex().chars().take(12).collect();
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = layers.entry(name.clone()).or_default();
        if let Some(bars) = &self.bars {
            self.show_bar(bars, layer, &name, &event);
            return;
        }
        let text = words(&event);
        // Only what lasts is worth a line where nothing can be overwritten.
        let counts = matches!(event, LayerEvent::Downloading { .. } | LayerEvent::Extracting { .. });
        if !counts && layer.said != text {
            layer.said.clone_from(&text);
            self.line(&format!("{name}: {text}"));
        }
    }

    fn message(&self, text: &str) {
        self.line(text);
    }
}

fn words(event: &LayerEvent) -> String {
    match event {
        LayerEvent::Pulling => "Pulling fs layer".to_owned(),
        LayerEvent::Waiting => "Waiting".to_owned(),
        LayerEvent::Downloading { .. } => "Downloading".to_owned(),
        LayerEvent::Retrying { seconds } => format!("Retrying in {seconds} seconds"),
        LayerEvent::Verifying => "Verifying Checksum".to_owned(),
        LayerEvent::DownloadComplete => "Download complete".to_owned(),
        LayerEvent::Extracting { .. } => "Extracting".to_owned(),
        LayerEvent::PullComplete => "Pull complete".to_owned(),
        LayerEvent::AlreadyExists => "Already exists".to_owned(),
    }
}
