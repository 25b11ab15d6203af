// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How the page looks; how plots look is ``PlotStyle``'s. Neither may have `<` or `&`, so that the page is XML too.
enum PageStyle {
    static var source: String {
        """
        :root{color-scheme:light dark;--ground:#f6f8fa;--card:#ffffff;--line:#d0d7de;--ink:#1f2328;--muted:#59636e;
        --quic:#0072b2;--tcp:#d55e00;--auto:#009e73;--other:#7a7a7a;--good:#1a7f37;--bad:#cf222e;--warn:#9a6700;
        --warnground:#fff8c5;--link:#0969da}
        @media screen and (prefers-color-scheme:dark){:root{--ground:#010409;--card:#0d1117;--line:#3d444d;--ink:#e6edf3;
        --muted:#9198a1;--quic:#56b4e9;--tcp:#f0883e;--auto:#3fc39a;--other:#a0a0a0;--good:#3fb950;--bad:#ff7b72;
        --warn:#d29922;--warnground:#272115;--link:#58a6ff}}
        *{box-sizing:border-box}
        html{scroll-behavior:smooth}
        body{margin:0;background:var(--ground);color:var(--ink);line-height:1.5;
        font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
        main,header,footer,nav{max-width:70rem;margin:0 auto;padding:0 1.5rem}
        header{padding-top:2.5rem}
        h1{font-size:2rem;line-height:1.2;margin:0 0 .25rem}
        h2{font-size:1.35rem;line-height:1.3;margin:0 0 .5rem}
        h3{font-size:1rem;margin:1.5rem 0 .5rem}
        p{margin:.25rem 0 .75rem;max-width:52rem}
        a{color:var(--link)}
        code{font:.875em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;
        background:var(--ground);border:1px solid var(--line);border-radius:6px;padding:.1em .4em;overflow-wrap:anywhere}
        .lead,.network{color:var(--muted)}
        section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.5rem;margin:1.5rem 0}
        nav{margin-top:1.25rem}
        nav ul{display:flex;flex-wrap:wrap;gap:.4rem .5rem;list-style:none;margin:0;padding:0}
        nav a{display:block;border:1px solid var(--line);border-radius:2rem;padding:.1rem .7rem;background:var(--card);
        font-size:.875rem;text-decoration:none}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;margin:1rem 0;font-size:.9375rem}
        dt{color:var(--muted)}
        dd{margin:0;overflow-wrap:anywhere}
        .doubt{border:1px solid var(--warn);border-left-width:6px;background:var(--warnground);border-radius:8px;
        padding:.6rem 1rem;margin:.75rem 0}
        .wins{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:1rem;align-items:start;margin-top:1rem}
        .group{border:1px solid var(--line);border-top:5px solid var(--other);border-radius:8px;padding:.75rem 1.25rem}
        .group.quic{border-top-color:var(--quic)}.group.tcp{border-top-color:var(--tcp)}
        .group.auto{border-top-color:var(--auto)}.group.failed{border-top-color:var(--bad)}
        .group h3{margin:.25rem 0 .5rem;font-size:1.05rem}
        .group ul{margin:0;padding-left:1.1rem}
        .group li{margin:.45rem 0}
        figure{margin:1rem 0 .5rem}
        figcaption{font-size:.875rem;color:var(--muted);margin-top:.25rem;max-width:52rem}
        .pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:0 2rem;align-items:start}
        .beside{display:grid;grid-template-columns:minmax(0,1fr) max-content;gap:0 2rem;align-items:center}
        @media (max-width:60rem){.beside{grid-template-columns:minmax(0,1fr)}}
        details{margin:.75rem 0}
        summary{cursor:pointer;color:var(--muted);font-size:.9rem}
        svg.plot{display:block;width:100%;height:auto;overflow:visible}
        .scroll{overflow-x:auto;margin:.75rem 0}
        table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
        caption{text-align:left;color:var(--muted);padding-bottom:.35rem;font-size:.875rem}
        th,td{padding:.3rem .45rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
        th:first-child,td:first-child{text-align:left;padding-left:0}
        .words td,.words th{text-align:left}
        .words tbody th{white-space:normal}.words a{white-space:nowrap}
        .changes td,.changes th{white-space:nowrap}
        .changes th:nth-child(-n+3),.changes td:nth-child(-n+3){text-align:left}
        thead th{font-weight:600;color:var(--muted);vertical-align:bottom}
        tbody th{font-weight:600;white-space:nowrap}
        .spread,.against{display:block;color:var(--muted);white-space:nowrap;font-size:.9em}
        .against{font-style:italic}
        .swatch{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.45em;background:var(--other)}
        .swatch.quic{background:var(--quic)}.swatch.tcp{background:var(--tcp)}.swatch.auto{background:var(--auto)}
        .verdict{font-weight:600;white-space:nowrap}
        .confirmed,.good{color:var(--good)}.refuted,.bad{color:var(--bad)}.undecided{color:var(--warn)}
        .muted{color:var(--muted)}
        @media screen and (max-width:44rem){main,header,footer,nav{padding:0 .6rem}header{padding-top:1.25rem}
        section{padding:.9rem}.group{padding:.5rem .8rem}dl{grid-template-columns:1fr;gap:0}dt{margin-top:.4rem}
        table,tbody,tr,caption{display:block;width:100%}thead{display:none}tbody tr{border-bottom:1px solid var(--line);padding:.4rem 0}
        tbody th,tbody td{display:flex;justify-content:space-between;gap:1rem;border:none;padding:.1rem 0;text-align:right}
        tbody th,.words tbody th{text-align:left;white-space:normal}
        tbody td::before{content:attr(data-column);color:var(--muted);text-align:left}
        .words tbody td{text-align:left}.words tbody td::before{flex:none;width:6rem}
        .words tbody td{justify-content:flex-start;overflow-wrap:anywhere}.words tbody td::before{overflow-wrap:normal}.spread,.against,.verdict{white-space:normal}}
        footer{color:var(--muted);font-size:.875rem;padding-bottom:3rem}
        @media print{:root{--ground:#ffffff}body{font-size:11pt}section{border:none;padding:0;margin:1.5rem 0}
        nav{display:none}figure,tr,h2,h3,.group,.scroll{break-inside:avoid}h2,h3{break-after:avoid}
        a{color:inherit;text-decoration:none}.wins{grid-template-columns:1fr 1fr}.scroll{overflow:visible}
        details::details-content{content-visibility:visible;block-size:auto}}
        \(PlotStyle.source)
        """
    }
}
