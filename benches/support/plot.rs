//! Lines in a diagram, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// What a diagram shows: both axes grow by factors, so that a line that goes straight up doubles where its cause does.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) lines: &'a [(String, Vec<(f64, f64)>)],
}

/// Colours that differ for the colour-blind too.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

impl Plot<'_> {
    /// Writes it to `benches/` of the sources.
    pub(crate) fn write(&self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(file);
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let values = points().map(of);
            values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
        };
        let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
        let area = SVGBackend::new(&path, (760, 420)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d((left..right).log_scale(), (low / 2.0..high * 2.0).log_scale())
            .unwrap();
        chart.configure_mesh().light_line_style(WHITE.mix(0.0)).x_desc(self.x).y_desc(self.y).draw().unwrap();
        for ((name, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            let drawn = chart.draw_series(line).unwrap().label(name);
            drawn.legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3));
        labels.position(SeriesLabelPosition::UpperLeft).draw().unwrap();
        area.present().unwrap();
        println!("  drawn: {}", path.display());
    }
}
