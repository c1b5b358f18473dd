def encoder_layers_forward(w, p, s, H, W, x, x_2, x_3, x_4):
    add = x + x_2  # f32[B,21*H*W/1024,256]
    # f32[B,21*H*W/1024,256]
    s["self_attn_value_proj"] = self_attn_values = linear(x, *pair(w, p + "self_attn.value_proj.*"))
    # self_attn
    # f32[B,21*H*W/1024,8,32]
    s["self_attn_values"] = self_attn_values = self_attn_values.unflatten(-1, (8, 32))
    s["self_attn_locations"] = self_attn_locations = (  # f32[B,21*H*W/1024,8,3,4,2]
        linear(add, *pair(w, p + "self_attn.sampling_offsets.*"))
        .unflatten(-1, (8, 3, 4, 2))
        .div_(x_3)
        .add_(x_4)
    )
    s["self_attn_attention_weights"] = self_attn_scores = linear(  # f32[B,21*H*W/1024,96]
        add, *pair(w, p + "self_attn.attention_weights.*")
    )
    del add
    # f32[B,21*H*W/1024,8,12]
    s["self_attn_scores"] = self_attn_scores = self_attn_scores.unflatten(-1, (8, 12))
    # f32[B,21*H*W/1024,8,12]
    s["self_attn_probabilities"] = self_attn_weights = softmax_along(self_attn_scores, -1)
    del self_attn_scores
    # f32[B,21*H*W/1024,8,3,4]
    s["self_attn_weights"] = self_attn_weights = self_attn_weights.unflatten(-1, (3, 4))
    s["self_attn_sampled"] = self_attn_sampled = deform_sample(  # f32[B,21*H*W/1024,256]
        self_attn_values,
        self_attn_locations,
        self_attn_weights,
        ((H // 8, W // 8), (H // 16, W // 16), (H // 32, W // 32)),
        s,
        "self_attn_sampled",
    )
    del self_attn_values, self_attn_locations, self_attn_weights
    # f32[B,21*H*W/1024,256]
    s["self_attn"] = self_attn = linear(self_attn_sampled, *pair(w, p + "self_attn.output_proj.*"))
    del self_attn_sampled
    add = x + self_attn  # f32[B,21*H*W/1024,256]
    del self_attn
    # f32[B,21*H*W/1024,256]
    norm1 = F.layer_norm(add, add.shape[-1:], *pair(w, p + "norm1.*"), 1e-05)
    del add
    s["relu"] = relu = linear(norm1, *pair(w, p + "linear1.*")).relu_()  # f32[B,21*H*W/1024,512]
    s["linear2"] = linear2 = linear(relu, *pair(w, p + "linear2.*"))  # f32[B,21*H*W/1024,256]
    del relu
    norm1 = norm1.add_(linear2)  # f32[B,21*H*W/1024,256]
    del linear2
    # f32[B,21*H*W/1024,256]
    s["norm2"] = norm2 = F.layer_norm(norm1, norm1.shape[-1:], *pair(w, p + "norm2.*"), 1e-05)
    return norm2


def epsilon_linear(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06)  # f32[K,B,C,N]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    return linear_transpose(g_2, w[p + "weight"])  # f32[K,B,C,H]


def detach_sigma_layer_norm_2(w, p, g, x, x_2, ledger):
    # detach_sigma(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06)  # f32[K,B,C,256]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    inverse_std = rstd(x_2, 1e-05, 0)  # f32[B,C,1]
    return layer_norm_transpose(g_2, inverse_std, w[p + "weight"])  # f32[K,B,C,256]


def encoder_layers_relevance(w, p, s, H, W, g, x, x_2, ledger):
    add = x + s["self_attn"]  # f32[B,21*H*W/1024,256]
    # f32[B,21*H*W/1024,256]
    norm1 = F.layer_norm(add, add.shape[-1:], *pair(w, p + "norm1.*"), 1e-05)
    add_2 = norm1 + s["linear2"]  # f32[B,21*H*W/1024,256]
    book(ledger, g, s["norm2"])
    g = detach_sigma_layer_norm_2(w, p + "norm2.", g, s["norm2"], add_2, ledger)
    book(ledger, g, add_2, times=2)
    g = epsilon(g, add_2, ledger)  # f32[K,B,21*H*W/1024,256]
    del add_2
    book(ledger, g, norm1)
    book(ledger, g, s["linear2"], times=2)
    g_2 = epsilon_linear(w, p + "linear2.", g, s["linear2"], ledger)  # f32[K,B,21*H*W/1024,512]
    book(ledger, g_2, s["relu"], times=4)
    g_2 = epsilon_linear_3(w, p + "linear1.", g_2, s["relu"], ledger)  # f32[K,B,21*H*W/1024,256]
    book(ledger, g_2, norm1)
    # linear1: epsilon(eps=1e-06)
    g = g.add_(g_2)  # f32[K,B,21*H*W/1024,256]
    del g_2
    book(ledger, g, norm1)
    g = detach_sigma_layer_norm_3(w, p + "norm1.", g, norm1, add, ledger)
    del norm1
    book(ledger, g, add, times=2)
    g = epsilon(g, add, ledger)  # f32[K,B,21*H*W/1024,256]
    del add
    book(ledger, g, x)
    book(ledger, g, s["self_attn"], times=2)
    g_2 = epsilon_linear(w, p + "self_attn.output_proj.", g, s["self_attn"], ledger)
    book(ledger, g_2, s["self_attn_sampled"], times=2)
    g_2, g_3 = value_and_weights_deform_weight_2(
        s,
        H,
        W,
        g_2,
        s["self_attn_sampled"],
        s["self_attn_values"],
        s["self_attn_locations"],
        s["self_attn_weights"],
        ledger,
    )
    book(ledger, g_3, s["self_attn_values"])
    book(ledger, g_2, s["self_attn_weights"], times=4)
    # self_attn: pass
    g_2 = g_2.flatten(-2, -1)  # f32[K,B,21*H*W/1024,8,12]
    g_2 = taylor_softmax(g_2, s["self_attn_probabilities"], s["self_attn_scores"], ledger)
    book(ledger, g_2, s["self_attn_scores"], times=4)
    # self_attn: pass
    g_2 = g_2.flatten(-2, -1)  # f32[K,B,21*H*W/1024,96]
    add = x + x_2  # f32[B,21*H*W/1024,256]
    g_2 = epsilon_linear_3(
        w, p + "self_attn.attention_weights.", g_2, s["self_attn_attention_weights"], ledger
    )
    book(ledger, g_2, add)
    book(ledger, g_3, s["self_attn_values"], times=3)
    # self_attn: pass
    g_3 = g_3.flatten(-2, -1)  # f32[K,B,21*H*W/1024,256]
    g_3 = epsilon_linear_3(w, p + "self_attn.value_proj.", g_3, s["self_attn_value_proj"], ledger)
    book(ledger, g_3, x)
    # self_attn: epsilon(eps=1e-06)
    g = g.add_(g_3)  # f32[K,B,21*H*W/1024,256]
    del g_3
    book(ledger, g_2, add)
    g_2 = epsilon(g_2, add, ledger)  # f32[K,B,21*H*W/1024,256]
    del add
    book(ledger, g_2, x)
    return epsilon_4(g, g_2, x_2, ledger)  # f32[K,B,21*H*W/1024,256]


def relevance_class_logit(w, saved, seed, read, ledger=None):
    out = {}
    s = saved[""]
    layers_2 = saved["sem_seg_head.predictor.decoder.layers.2"]
    book(ledger, seed, s["class_embed_1"], times=2)
    g = epsilon_linear(w, "sem_seg_head.predictor.class_embed.", seed, s["class_embed_1"], ledger)
    del seed
    book(ledger, g, s["decoder_norm_2"], times=2)
    g = detach_sigma_layer_norm(
        w,
        "sem_seg_head.predictor.decoder_norm.",
        g,
        s["decoder_norm_2"],
        s["decoder_norm_1"],
        layers_2["norm3"],
        ledger,
    )
    book(ledger, g, layers_2["norm3"])
    held = [g]
    del g
    return relevance_from_decoder_layers_2(w, saved, held, read, out, ledger)
